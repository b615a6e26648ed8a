//! Writes the code for a topic: the trait, its client, its dispatch, its metadata.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use crate::topic::{Argument, Procedure, Role, Topic};

/// Writes all four.
pub fn expand(topic: &Topic) -> TokenStream {
    let parts = [topic_trait(topic), metadata(topic), client(topic), dispatch(topic)];
    quote!(#(#parts)*)
}

/// The trait itself, resting on `Procedures` for its error type.
fn topic_trait(topic: &Topic) -> TokenStream {
    let mut item = topic.item.clone();
    item.supertraits.push(syn::parse_quote!(::guestfs_api::Procedures));
    quote!(#item)
}

/// `PROCEDURES`, and a constant for each procedure that the client names.
fn metadata(topic: &Topic) -> TokenStream {
    let trait_name = topic.item.ident.to_string();
    let constants = topic.procedures.iter().map(constant_name).collect::<Vec<_>>();
    let values = topic.procedures.iter().map(procedure_value);
    let doc = format!("The procedures of [`{trait_name}`], in the trait's order.");
    quote! {
        #(static #constants: ::guestfs_api::Procedure = #values;)*

        #[doc = #doc]
        pub static PROCEDURES: &[&::guestfs_api::Procedure] = &[#(&#constants),*];
    }
}

fn constant_name(procedure: &Procedure) -> Ident {
    format_ident!("{}", procedure.name.to_string().to_uppercase(), span = procedure.name.span())
}

fn procedure_value(procedure: &Procedure) -> TokenStream {
    let Procedure { name, number, group, arguments, .. } = procedure;
    let name = name.to_string();
    let group = match group {
        Some(group) => quote!(Some(#group)),
        None => quote!(None),
    };
    let listed = arguments.iter().filter_map(|argument| {
        let name = argument.name.to_string();
        let kind = match &argument.role {
            Role::Plain { value, .. } => quote!(#value).to_string().replace(' ', ""),
            Role::FileIn => "FileIn".to_owned(),
            Role::FileOut => "FileOut".to_owned(),
            Role::Optional(_) => return None,
        };
        Some(quote!(::guestfs_api::Argument { name: #name, kind: #kind }))
    });
    let optional = arguments.iter().find_map(|argument| match &argument.role {
        Role::Optional(value) => Some(quote!(<#value as ::guestfs_api::OptionalArguments>::NAMES)),
        _ => None,
    });
    let optional = optional.unwrap_or_else(|| quote!(&[]));
    quote! {
        ::guestfs_api::Procedure {
            number: #number,
            name: #name,
            group: #group,
            arguments: &[#(#listed),*],
            optional_arguments: #optional,
        }
    }
}

/// `impl Topic for Remote<C>`: encodes, calls, decodes.
fn client(topic: &Topic) -> TokenStream {
    let trait_name = &topic.item.ident;
    let methods = topic.procedures.iter().map(|procedure| {
        let Procedure { name, arguments, result, .. } = procedure;
        let constant = constant_name(procedure);
        let parameters = arguments.iter().map(|Argument { name, written, .. }| quote!(#name: #written));
        let steps = arguments.iter().map(client_step);
        let traced = arguments
            .iter()
            .filter(|argument| argument.travels_in_the_arguments())
            .map(|argument| &argument.name);
        quote! {
            fn #name(&self, #(#parameters),*) -> Result<#result, Self::Error> {
                #[allow(unused_mut)]
                let mut request = ::guestfs_api::Request::default();
                #(#steps)*
                if ::guestfs_api::Call::is_traced(&self.0) {
                    #(request.text.push_str(&format!(" {:?}", #traced));)*
                }
                self.call(&#constant, request)
            }
        }
    });
    quote! {
        impl<C: ::guestfs_api::Call> #trait_name for ::guestfs_api::Remote<C> {
            #(#methods)*
        }
    }
}

fn client_step(Argument { name, role, .. }: &Argument) -> TokenStream {
    match role {
        Role::Plain { .. } => quote!(::guestfs_api::xdr::Encode::encode(&#name, &mut request.arguments);),
        Role::Optional(_) => quote! {
            request.optional_mask = ::guestfs_api::OptionalArguments::mask(#name);
            ::guestfs_api::OptionalArguments::encode_all(#name, &mut request.arguments);
        },
        Role::FileIn => quote!(request.file = ::guestfs_api::FileArgument::In(#name);),
        Role::FileOut => quote!(request.file = ::guestfs_api::FileArgument::Out(#name);),
    }
}

/// `dispatch`: decodes, calls the server, encodes.
fn dispatch(topic: &Topic) -> TokenStream {
    let trait_name = &topic.item.ident;
    let arms = topic.procedures.iter().map(|procedure| {
        let Procedure { name, number, arguments, .. } = procedure;
        let steps = arguments.iter().map(dispatch_step);
        let file = arguments.iter().filter_map(|Argument { name, role, .. }| match role {
            Role::FileIn => Some(quote!(let #name = served.file_in();)),
            Role::FileOut => Some(quote!(let #name = served.file_out();)),
            Role::Plain { .. } | Role::Optional(_) => None,
        });
        let passed = arguments.iter().map(|Argument { name, role, .. }| match role {
            Role::Plain { is_reference: true, value } => {
                quote!(::std::borrow::Borrow::<#value>::borrow(&#name))
            }
            Role::Optional(_) => quote!(&#name),
            Role::Plain { .. } | Role::FileIn | Role::FileOut => quote!(#name),
        });
        quote! {
            #number => (|| {
                #(#steps)*
                served.end_of_arguments()?;
                #(#file)*
                let result = server.#name(#(#passed),*)?;
                Ok(::guestfs_api::reply_body(&result))
            })(),
        }
    });
    let doc = format!(
        "Serves one call of [`{trait_name}`]: gives the body of its reply, or `None` when the procedure is of another topic."
    );
    quote! {
        #[doc = #doc]
        pub fn dispatch<S>(
            server: &S, served: &mut ::guestfs_api::Served<'_>,
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

fn dispatch_step(Argument { name, role, .. }: &Argument) -> TokenStream {
    let text = name.to_string();
    match role {
        Role::Plain { value, is_reference: true } => quote! {
            let #name: <#value as ::std::borrow::ToOwned>::Owned = served.argument(#text)?;
        },
        Role::Plain { value, is_reference: false } => quote!(let #name: #value = served.argument(#text)?;),
        Role::Optional(value) => quote!(let #name: #value = served.optional()?;),
        Role::FileIn | Role::FileOut => quote!(),
    }
}
