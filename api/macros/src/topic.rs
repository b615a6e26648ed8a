//! Reads a topic trait into a description of its procedures, and reports what is wrong at the token it is about.

use syn::parse::ParseStream;
use syn::{
    Error, FnArg, GenericArgument, Ident, ItemTrait, LitInt, LitStr, PathArguments, Result, ReturnType,
    Signature, TraitItem, TraitItemFn, Type,
};

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
        if !item.generics.params.is_empty() {
            return Err(Error::new_spanned(&item.generics, "a topic trait has no generic parameters"));
        }
        let mut procedures: Vec<Procedure> = Vec::new();
        for member in &mut item.items {
            let TraitItem::Fn(method) = member else {
                return Err(Error::new_spanned(member, "a topic trait holds procedures only"));
            };
            let procedure = Procedure::parse(method)?;
            if let Some(twin) = procedures.iter().find(|other| value(other) == value(&procedure)) {
                let text =
                    format!("procedure number {} already belongs to `{}`", procedure.number, twin.name);
                return Err(Error::new(procedure.number.span(), text));
            }
            procedures.push(procedure);
        }
        Ok(Topic { item, procedures })
    }
}

/// Gives the procedure's number, whichever way it is written.
fn value(procedure: &Procedure) -> u32 {
    procedure.number.base10_parse().expect("the attribute's reader parsed it already")
}

impl Procedure {
    fn parse(method: &mut TraitItemFn) -> Result<Procedure> {
        let (number, group) = take_procedure_attribute(method)?;
        if let Some(body) = &method.default {
            return Err(Error::new_spanned(
                body,
                "a procedure has no default body: the daemon implements it",
            ));
        }
        let signature = &mut method.sig;
        check_plain(signature)?;
        let result = result_value(signature)?;
        check_receiver(signature)?;
        let arguments =
            signature.inputs.iter_mut().skip(1).map(Argument::parse).collect::<Result<Vec<_>>>()?;
        check_order(&arguments)?;
        Ok(Procedure { name: signature.ident.clone(), number, group, arguments, result })
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
    method.attrs.remove(index).parse_args_with(|input: ParseStream<'_>| {
        let number: LitInt = input.parse()?;
        number.base10_parse::<u32>()?;
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

/// Checks that the method is no more than a name, arguments and a result: only those travel.
fn check_plain(signature: &Signature) -> Result<()> {
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(&signature.generics, "a procedure has no generic parameters"));
    }
    if let Some(clause) = &signature.generics.where_clause {
        return Err(Error::new_spanned(clause, "a procedure has no `where` clause"));
    }
    if let Some(modifier) = &signature.asyncness {
        return Err(Error::new(modifier.span, "a procedure is a plain `fn`: who calls it waits for it"));
    }
    if let Some(modifier) = &signature.unsafety {
        return Err(Error::new(
            modifier.span,
            "a procedure is a plain `fn`: the daemon checks its arguments",
        ));
    }
    Ok(())
}

/// Finds `VALUE` in `-> Result<VALUE, Self::Error>`.
fn result_value(signature: &Signature) -> Result<Type> {
    let text = "a procedure returns `Result<VALUE, Self::Error>`";
    match &signature.output {
        ReturnType::Default => Err(Error::new(signature.ident.span(), text)),
        ReturnType::Type(_, written) => {
            value_of_result(written).ok_or_else(|| Error::new_spanned(written, text))
        }
    }
}

fn value_of_result(written: &Type) -> Option<Type> {
    let Type::Path(path) = written else { return None };
    let result = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &result.arguments else { return None };
    let mut types = arguments.args.iter();
    let (Some(GenericArgument::Type(value)), Some(GenericArgument::Type(Type::Path(error))), None) =
        (types.next(), types.next(), types.next())
    else {
        return None;
    };
    let error_path = error.path.segments.iter().map(|segment| segment.ident.to_string());
    (result.ident == "Result" && error_path.eq(["Self", "Error"])).then(|| value.clone())
}

fn check_receiver(signature: &Signature) -> Result<()> {
    let text = "a procedure's first argument is `&self`";
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.mutability.is_none() => {
            Ok(())
        }
        Some(other) => Err(Error::new_spanned(other, text)),
        None => Err(Error::new(signature.ident.span(), text)),
    }
}

impl Argument {
    /// Says whether the argument is part of the message, as files are not.
    pub fn is_in_message(&self) -> bool {
        matches!(self.role, Role::Plain { .. } | Role::Optional(_))
    }

    fn parse(input: &mut FnArg) -> Result<Argument> {
        let FnArg::Typed(typed) = input else {
            return Err(Error::new_spanned(input, "`self` comes first"));
        };
        let syn::Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new_spanned(
                &typed.pat,
                "an argument has a plain name: it is part of the API",
            ));
        };
        let is_optional = take_optional_attribute(&mut typed.attrs)?;
        let written = (*typed.ty).clone();
        let role = if is_optional { optional_role(&written) } else { plain_or_file_role(&written) }?;
        Ok(Argument { name: pattern.ident.clone(), written, role })
    }
}

/// Takes `#[optional]` off an argument; says whether it was there.
fn take_optional_attribute(attributes: &mut Vec<syn::Attribute>) -> Result<bool> {
    let Some(index) = attributes.iter().position(|attribute| attribute.path().is_ident("optional")) else {
        return Ok(false);
    };
    attributes.remove(index).meta.require_path_only()?;
    Ok(true)
}

fn optional_role(written: &Type) -> Result<Role> {
    match written {
        Type::Reference(reference) if reference.mutability.is_none() => {
            Ok(Role::Optional((*reference.elem).clone()))
        }
        _ => Err(Error::new_spanned(written, "optional arguments are passed as `&Struct`")),
    }
}

fn plain_or_file_role(written: &Type) -> Result<Role> {
    let (value, is_reference) = match written {
        Type::Reference(reference) if reference.mutability.is_some() => {
            return Err(Error::new_spanned(written, "an argument travels one way: it cannot be `&mut`"));
        }
        Type::Reference(reference) => (&*reference.elem, true),
        other => (other, false),
    };
    let role = match last_segment(value) {
        Some(name) if name == "FileIn" => Role::FileIn,
        Some(name) if name == "FileOut" => Role::FileOut,
        _ => return Ok(Role::Plain { value: value.clone(), is_reference }),
    };
    if is_reference {
        return Err(Error::new_spanned(written, "a file is passed by value"));
    }
    Ok(role)
}

fn last_segment(written: &Type) -> Option<&Ident> {
    match written {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// Checks what the wire form rests on: one file at most, and optional arguments after the plain ones.
fn check_order(arguments: &[Argument]) -> Result<()> {
    let mut has_file = false;
    let mut has_optional = false;
    for argument in arguments {
        match argument.role {
            Role::FileIn | Role::FileOut if has_file => {
                return Err(Error::new_spanned(&argument.written, "a procedure transfers one file at most"));
            }
            Role::FileIn | Role::FileOut => has_file = true,
            Role::Optional(_) if has_optional => {
                return Err(Error::new_spanned(
                    &argument.written,
                    "all optional arguments go into one struct",
                ));
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

#[cfg(test)]
mod tests;
