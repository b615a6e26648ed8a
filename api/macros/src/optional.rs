//! Writes the wire form of a struct with a procedure's optional arguments.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Type};

/// The protocol's mask has 64 bits, of which it uses 63.
const OPTIONAL_ARGUMENTS_MAX: usize = 63;

/// Writes `impl OptionalArguments`.
pub fn expand(item: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &item.data else {
        return Err(Error::new(item.ident.span(), "optional arguments are a struct of `Option` fields"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new(item.ident.span(), "optional arguments have names"));
    };
    let mut names: Vec<&Ident> = Vec::new();
    for field in &fields.named {
        if !is_option(&field.ty) {
            return Err(Error::new(field.ty.span(), "an optional argument is an `Option`"));
        }
        names.extend(field.ident.as_ref());
    }
    if names.len() > OPTIONAL_ARGUMENTS_MAX {
        return Err(Error::new(item.ident.span(), "a procedure has at most 63 optional arguments"));
    }
    let texts = names.iter().map(|name| name.to_string().trim_start_matches("r#").to_owned());
    let bits = (0u32..).take(names.len()).collect::<Vec<_>>();
    let name = &item.ident;
    Ok(quote! {
        impl ::guestfs_api::OptionalArguments for #name {
            const NAMES: &'static [&'static str] = &[#(#texts),*];

            fn mask(&self) -> u64 {
                0 #(| (u64::from(self.#names.is_some()) << #bits))*
            }

            fn encode_all(&self, encoder: &mut ::guestfs_api::xdr::Encoder) {
                #(::guestfs_api::encode_optional(&self.#names, encoder);)*
            }

            fn decode_all(
                mask: u64, decoder: &mut ::guestfs_api::xdr::Decoder<'_>,
            ) -> Result<Self, ::guestfs_api::xdr::DecodeError> {
                Ok(#name { #(#names: ::guestfs_api::decode_optional(#bits, mask, decoder)?,)* })
            }
        }
    })
}

fn is_option(written: &Type) -> bool {
    match written {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "Option"),
        _ => false,
    }
}
