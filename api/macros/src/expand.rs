//! Writes the code for a topic: the trait, its client, its dispatch, its metadata, its layer.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Ident, Type};

use crate::layer::{LayerName, layer};
use crate::topic::{Argument, Procedure, Role, Topic};

/// Writes all five; the layer only when it has a name.
pub fn expand(topic: &Topic, layer_name: &LayerName) -> TokenStream {
    let parts =
        [topic_trait(topic), metadata(topic), client(topic), dispatch(topic), layer(topic, layer_name)];
    quote!(#(#parts)*)
}

/// The trait itself, resting on `Procedures` for its error type.
fn topic_trait(topic: &Topic) -> TokenStream {
    let mut item = topic.item.clone();
    item.supertraits.push(syn::parse_quote!(::guestfs_api::Procedures));
    quote!(#item)
}

/// `PROCEDURES`, and a static for each procedure that the client names.
fn metadata(topic: &Topic) -> TokenStream {
    let visibility = &topic.item.vis;
    let names = topic.procedures.iter().map(static_name).collect::<Vec<_>>();
    let values = topic.procedures.iter().map(procedure_value);
    let doc = format!("The procedures of [`{}`], in the trait's order.", topic.item.ident);
    quote! {
        #(static #names: ::guestfs_api::Procedure = #values;)*

        #[doc = #doc]
        #visibility static PROCEDURES: &[&::guestfs_api::Procedure] = &[#(&#names),*];
    }
}

fn static_name(procedure: &Procedure) -> Ident {
    format_ident!("{}", plain(&procedure.name).to_uppercase(), span = procedure.name.span())
}

/// Gives the name without the `r#` of names that are Rust's keywords.
fn plain(name: &Ident) -> String {
    name.unraw().to_string()
}

fn procedure_value(procedure: &Procedure) -> TokenStream {
    let Procedure { name, number, group, arguments, result } = procedure;
    let name = plain(name);
    let result = type_text(result);
    let group = match group {
        Some(group) => quote!(Some(#group)),
        None => quote!(None),
    };
    let listed = arguments.iter().filter_map(argument_value);
    let optional = arguments.iter().find_map(|argument| match &argument.role {
        Role::Optional(value) => Some(quote!(<#value as ::guestfs_api::OptionalArguments>::NAMES)),
        Role::Plain { .. } | Role::FileIn | Role::FileOut => None,
    });
    let optional = optional.unwrap_or_else(|| quote!(&[]));
    quote! {
        ::guestfs_api::Procedure {
            number: #number,
            name: #name,
            group: #group,
            arguments: &[#(#listed),*],
            optional_arguments: #optional,
            result: #result,
        }
    }
}

fn argument_value(Argument { name, role, .. }: &Argument) -> Option<TokenStream> {
    let name = plain(name);
    let kind = match role {
        Role::Plain { value, .. } => type_text(value),
        Role::FileIn => "FileIn".to_owned(),
        Role::FileOut => "FileOut".to_owned(),
        Role::Optional(_) => return None,
    };
    Some(quote!(::guestfs_api::Argument { name: #name, kind: #kind }))
}

/// Writes a type as people do, without the spaces between tokens.
fn type_text(written: &Type) -> String {
    quote!(#written).to_string().replace(' ', "")
}

/// The span of generated function bodies: their local variables are apart from a procedure's arguments, which may
/// have the same names.
fn body() -> Span {
    Span::mixed_site()
}

/// The span of the part of a body that is about a type: when the type has no wire form, the error points at it.
fn body_at(written: &Type) -> Span {
    body().located_at(written.span())
}

/// `impl Topic for Remote<C>`: encodes, calls, decodes.
fn client(topic: &Topic) -> TokenStream {
    let trait_name = &topic.item.ident;
    let methods = topic.procedures.iter().map(client_method);
    quote! {
        impl<C: ::guestfs_api::Call> #trait_name for ::guestfs_api::Remote<C> {
            #(#methods)*
        }
    }
}

fn client_method(procedure: &Procedure) -> TokenStream {
    let Procedure { name, arguments, result, .. } = procedure;
    let parameters = arguments.iter().map(|Argument { name, written, .. }| quote!(#name: #written));
    let encoded = arguments.iter().map(encode_step);
    let in_message = arguments.iter().filter(|argument| argument.is_in_message());
    let traced = in_message.map(|Argument { name, written, .. }| quote_spanned!(body_at(written)=> &#name));
    let metadata = static_name(procedure);
    let call = quote_spanned!(body_at(result)=> self.call(&#metadata, request));
    quote_spanned! {body()=>
        fn #name(&self, #(#parameters),*) -> Result<#result, Self::Error> {
            let mut request = ::guestfs_api::Request::default();
            if ::guestfs_api::Call::is_traced(&self.0) {
                request.trace(&[#(#traced),*]);
            }
            #(#encoded)*
            #call
        }
    }
}

fn encode_step(Argument { name, role, .. }: &Argument) -> TokenStream {
    match role {
        Role::Plain { value, .. } => quote_spanned! {body_at(value)=>
            ::guestfs_api::xdr::Encode::encode(&#name, &mut request.arguments);
        },
        Role::Optional(value) => quote_spanned! {body_at(value)=>
            request.optional_mask = ::guestfs_api::OptionalArguments::mask(#name);
            ::guestfs_api::OptionalArguments::encode_all(#name, &mut request.arguments);
        },
        Role::FileIn => quote_spanned!(body()=> request.file = ::guestfs_api::FileArgument::In(#name);),
        Role::FileOut => quote_spanned!(body()=> request.file = ::guestfs_api::FileArgument::Out(#name);),
    }
}

/// `dispatch`: decodes, calls the server, encodes.
fn dispatch(topic: &Topic) -> TokenStream {
    let trait_name = &topic.item.ident;
    let visibility = &topic.item.vis;
    let arms = topic.procedures.iter().map(dispatch_arm);
    let doc = format!(
        "Serves one call of [`{trait_name}`]: gives the body of its reply, or `None` when the procedure is of another topic."
    );
    quote_spanned! {body()=>
        #[doc = #doc]
        #visibility fn dispatch<S>(
            server: &S,
            served: &mut ::guestfs_api::Served<'_>,
        ) -> Option<Result<Vec<u8>, ::guestfs_api::Failure>>
        where
            S: #trait_name<Error = ::guestfs_api::Failure>,
        {
            Some(match served.number() {
                #(#arms)*
                _ => return None,
            })
        }
    }
}

fn dispatch_arm(procedure: &Procedure) -> TokenStream {
    let Procedure { name, number, arguments, result, .. } = procedure;
    let decoded = arguments.iter().map(decode_step);
    let files = arguments.iter().map(file_step);
    let passed = arguments.iter().map(passed_argument);
    let reply = quote_spanned!(body_at(result)=> ::guestfs_api::reply_body(&result));
    quote_spanned! {body()=>
        #number => (|| {
            #(#decoded)*
            served.end_of_arguments()?;
            #(#files)*
            let result = server.#name(#(#passed),*)?;
            Ok(#reply)
        })(),
    }
}

fn decode_step(Argument { name, role, .. }: &Argument) -> TokenStream {
    let text = plain(name);
    match role {
        Role::Plain { value, is_reference: true } => quote_spanned! {body_at(value)=>
            let #name: <#value as ::std::borrow::ToOwned>::Owned = served.argument(#text)?;
        },
        Role::Plain { value, is_reference: false } => quote_spanned! {body_at(value)=>
            let #name: #value = served.argument(#text)?;
        },
        Role::Optional(value) => quote_spanned!(body_at(value)=> let #name: #value = served.optional()?;),
        Role::FileIn | Role::FileOut => quote!(),
    }
}

/// Files come after all arguments were found good: taking one borrows the call.
fn file_step(Argument { name, role, .. }: &Argument) -> TokenStream {
    match role {
        Role::FileIn => quote_spanned!(body()=> let #name = served.file_in();),
        Role::FileOut => quote_spanned!(body()=> let #name = served.file_out();),
        Role::Plain { .. } | Role::Optional(_) => quote!(),
    }
}

/// What was decoded, in the form in which the trait's method takes it.
fn passed_argument(Argument { name, role, .. }: &Argument) -> TokenStream {
    match role {
        Role::Plain { is_reference: true, value } => quote!(::std::borrow::Borrow::<#value>::borrow(&#name)),
        Role::Optional(_) => quote!(&#name),
        Role::Plain { is_reference: false, .. } | Role::FileIn | Role::FileOut => quote!(#name),
    }
}
