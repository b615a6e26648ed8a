//! Reads a topic trait into a description of its procedures, and reports what is wrong at the token it is about.

use syn::spanned::Spanned;
use syn::{Error, Ident, ItemTrait, LitInt, LitStr, Result, ReturnType, TraitItem, TraitItemFn, Type};

/// A topic trait and what it says.
pub struct Topic {
    /// The trait as it stays: without the macro's own attributes.
    pub item: ItemTrait,
    /// Its methods.
    pub procedures: Vec<Procedure>,
}

/// One method of a topic trait.
pub struct Procedure {
    pub name: Ident,
    pub number: LitInt,
    pub group: Option<LitStr>,
    pub arguments: Vec<Argument>,
    /// The `VALUE` of `Result<VALUE, Self::Error>`.
    pub result: Type,
}

/// One argument of a procedure.
pub struct Argument {
    pub name: Ident,
    /// The type as written.
    pub written: Type,
    pub role: Role,
}

/// How an argument travels.
pub enum Role {
    /// In the arguments; the type without `&`.
    Plain { value: Type, is_reference: bool },
    /// A struct of optional arguments; the type without `&`.
    Optional(Type),
    /// Content after the call.
    FileIn,
    /// Content after the reply.
    FileOut,
}

impl Topic {
    /// Reads the trait.
    pub fn parse(mut item: ItemTrait) -> Result<Topic> {
        let mut procedures: Vec<Procedure> = Vec::new();
        for member in &mut item.items {
            let TraitItem::Fn(method) = member else {
                return Err(Error::new(member.span(), "a topic trait holds procedures only"));
            };
            let procedure = Procedure::parse(method)?;
            let value = procedure.number.base10_parse::<u32>()?;
            if let Some(twin) =
                procedures.iter().find(|other| other.number.base10_parse::<u32>().ok() == Some(value))
            {
                let text = format!("procedure number {value} already belongs to `{}`", twin.name);
                return Err(Error::new(procedure.number.span(), text));
            }
            procedures.push(procedure);
        }
        Ok(Topic { item, procedures })
    }
}

impl Procedure {
    fn parse(method: &mut TraitItemFn) -> Result<Procedure> {
        let (number, group) = take_procedure_attribute(method)?;
        if let Some(body) = &method.default {
            return Err(Error::new(body.span(), "a procedure has no default body: the daemon implements it"));
        }
        if !method.sig.generics.params.is_empty() {
            return Err(Error::new(method.sig.generics.span(), "a procedure has no generic parameters"));
        }
        let result = result_value(&method.sig.output).ok_or_else(|| {
            Error::new(method.sig.output.span(), "a procedure returns `Result<VALUE, Self::Error>`")
        });
        let result = match &method.sig.output {
            ReturnType::Default => {
                return Err(Error::new(
                    method.sig.ident.span(),
                    "a procedure returns `Result<VALUE, Self::Error>`",
                ));
            }
            ReturnType::Type(..) => result?,
        };
        let mut inputs = method.sig.inputs.iter_mut();
        match inputs.next() {
            Some(syn::FnArg::Receiver(receiver))
                if receiver.reference.is_some() && receiver.mutability.is_none() => {}
            Some(other) => return Err(Error::new(other.span(), "a procedure's first argument is `&self`")),
            None => {
                return Err(Error::new(method.sig.ident.span(), "a procedure's first argument is `&self`"));
            }
        }
        let arguments = inputs.map(Argument::parse).collect::<Result<Vec<_>>>()?;
        check_order(&arguments)?;
        Ok(Procedure { name: method.sig.ident.clone(), number, group, arguments, result })
    }
}

/// Takes `#[procedure(...)]` off a method.
fn take_procedure_attribute(method: &mut TraitItemFn) -> Result<(LitInt, Option<LitStr>)> {
    let Some(index) = method.attrs.iter().position(|attribute| attribute.path().is_ident("procedure")) else {
        return Err(Error::new(
            method.sig.ident.span(),
            "a procedure needs its number: #[procedure(NUMBER)]",
        ));
    };
    let attribute = method.attrs.remove(index);
    attribute.parse_args_with(|input: syn::parse::ParseStream<'_>| {
        let number: LitInt = input.parse()?;
        if input.is_empty() {
            return Ok((number, None));
        }
        input.parse::<syn::Token![,]>()?;
        let key: Ident = input.parse()?;
        if key != "group" {
            return Err(Error::new(key.span(), "only `group = \"NAME\"` may follow the number"));
        }
        input.parse::<syn::Token![=]>()?;
        Ok((number, Some(input.parse()?)))
    })
}

/// Finds `VALUE` in `-> Result<VALUE, Self::Error>`.
fn result_value(output: &ReturnType) -> Option<Type> {
    let ReturnType::Type(_, written) = output else { return None };
    let Type::Path(path) = &**written else { return None };
    let last = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let mut types = arguments.args.iter().filter_map(|argument| match argument {
        syn::GenericArgument::Type(value) => Some(value),
        _ => None,
    });
    let value = types.next()?;
    let Type::Path(error) = types.next()? else { return None };
    let is_self_error =
        error.path.segments.iter().map(|segment| segment.ident.to_string()).eq(["Self", "Error"]);
    (last.ident == "Result" && is_self_error && types.next().is_none()).then(|| value.clone())
}

impl Argument {
    /// Says whether the argument is part of the message, as files are not.
    pub fn travels_in_the_arguments(&self) -> bool {
        matches!(self.role, Role::Plain { .. } | Role::Optional(_))
    }

    fn parse(input: &mut syn::FnArg) -> Result<Argument> {
        let syn::FnArg::Typed(typed) = input else {
            return Err(Error::new(input.span(), "`self` comes first"));
        };
        let syn::Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new(typed.pat.span(), "an argument has a plain name: it is part of the API"));
        };
        let is_optional = take_optional_attribute(&mut typed.attrs)?;
        let written = (*typed.ty).clone();
        let role = role(&written, is_optional)?;
        Ok(Argument { name: pattern.ident.clone(), written, role })
    }
}

fn take_optional_attribute(attributes: &mut Vec<syn::Attribute>) -> Result<bool> {
    let Some(index) = attributes.iter().position(|attribute| attribute.path().is_ident("optional")) else {
        return Ok(false);
    };
    let attribute = attributes.remove(index);
    attribute.meta.require_path_only()?;
    Ok(true)
}

fn role(written: &Type, is_optional: bool) -> Result<Role> {
    let (value, is_reference) = match written {
        Type::Reference(reference) if reference.mutability.is_some() => {
            return Err(Error::new(written.span(), "an argument travels one way: it cannot be `&mut`"));
        }
        Type::Reference(reference) => ((*reference.elem).clone(), true),
        other => (other.clone(), false),
    };
    let kind = match &value {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    };
    match (kind.as_deref(), is_optional) {
        (Some("FileIn" | "FileOut"), true) => Err(Error::new(written.span(), "a file cannot be optional")),
        (Some("FileIn" | "FileOut"), _) if is_reference => {
            Err(Error::new(written.span(), "a file is passed by value"))
        }
        (Some("FileIn"), false) => Ok(Role::FileIn),
        (Some("FileOut"), false) => Ok(Role::FileOut),
        (_, true) if !is_reference => {
            Err(Error::new(written.span(), "optional arguments are passed as `&Struct`"))
        }
        (_, true) => Ok(Role::Optional(value)),
        (_, false) => Ok(Role::Plain { value, is_reference }),
    }
}

/// Checks what the wire form rests on: one file at most, and optional arguments after the plain ones.
fn check_order(arguments: &[Argument]) -> Result<()> {
    let mut has_file = false;
    let mut has_optional = false;
    for argument in arguments {
        match argument.role {
            Role::FileIn | Role::FileOut if has_file => {
                return Err(Error::new(argument.written.span(), "a procedure transfers one file at most"));
            }
            Role::FileIn | Role::FileOut => has_file = true,
            Role::Optional(_) if has_optional => {
                return Err(Error::new(argument.written.span(), "all optional arguments go into one struct"));
            }
            Role::Optional(_) => has_optional = true,
            Role::Plain { .. } if has_optional => {
                return Err(Error::new(
                    argument.name.span(),
                    "plain arguments come before the optional ones",
                ));
            }
            Role::Plain { .. } => {}
        }
    }
    Ok(())
}
