//! Writes a topic's layer trait: what stands on another implementation of the topic and changes a part of it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, Result, TraitItem, TraitItemFn};

use crate::topic::Topic;

/// What `#[procedures(...)]` says: nothing, or `layer = NAME`.
pub struct LayerName(Option<Ident>);

impl Parse for LayerName {
    fn parse(input: ParseStream<'_>) -> Result<LayerName> {
        if input.is_empty() {
            return Ok(LayerName(None));
        }
        let key: Ident = input.parse()?;
        if key != "layer" {
            return Err(Error::new(key.span(), "#[procedures] takes nothing but `layer = NAME`"));
        }
        input.parse::<syn::Token![=]>()?;
        Ok(LayerName(Some(input.parse()?)))
    }
}

/// The layer trait of `topic`, if it is to have one, and what makes each layer an implementation of the topic.
pub fn layer(topic: &Topic, LayerName(name): &LayerName) -> TokenStream {
    let Some(name) = name else { return TokenStream::new() };
    let topic_name = &topic.item.ident;
    let visibility = &topic.item.vis;
    let methods = topic.item.items.iter().filter_map(|item| match item {
        TraitItem::Fn(method) => Some(method),
        _ => None,
    });
    let (passing, forwarding) =
        methods.map(|method| both_ways(method, topic_name, name)).collect::<(Vec<_>, Vec<_>)>();
    let doc = format!(
        "What stands on another [`{topic_name}`] and changes a part of it: a procedure that it does not write calls the \
         one below. Each such layer is a [`{topic_name}`] itself.\n\n\
         Both traits have methods of the same names, so a file with a layer in it imports this one and names the other \
         by its path."
    );
    quote! {
        #[doc = #doc]
        #visibility trait #name: ::guestfs_api::Procedures {
            /// What the layer stands on.
            type Below: #topic_name<Error = Self::Error>;

            /// Gives what the layer stands on, which need not be the same the next time.
            fn below(&self) -> impl ::std::ops::Deref<Target = Self::Below>;

            #(#passing)*
        }

        impl<L: #name> #topic_name for L {
            #(#forwarding)*
        }
    }
}

/// A procedure's method in the layer trait, which passes it down, and in the topic's, which gives it to the layer.
fn both_ways(method: &TraitItemFn, topic_name: &Ident, layer_name: &Ident) -> (TokenStream, TokenStream) {
    let signature = &method.sig;
    let name = &signature.ident;
    let arguments = signature.inputs.iter().filter_map(|input| match input {
        syn::FnArg::Typed(typed) => Some(&typed.pat),
        syn::FnArg::Receiver(_) => None,
    });
    let arguments = arguments.collect::<Vec<_>>();
    let docs = method.attrs.iter().filter(|attribute: &&Attribute| attribute.path().is_ident("doc"));
    let passing = quote! {
        #(#docs)*
        #signature {
            #topic_name::#name(&*self.below(), #(#arguments),*)
        }
    };
    let forwarding = quote! {
        #signature {
            #layer_name::#name(self, #(#arguments),*)
        }
    };
    (passing, forwarding)
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;

    use super::LayerName;
    use crate::marked::assert_refused;

    #[test]
    fn only_a_layers_name_is_taken() {
        let message = "#[procedures] takes nothing but `layer = NAME`";
        let read = |tokens: TokenStream| syn::parse2::<LayerName>(tokens);
        assert_refused("«layers» = Layer", message, read);
        assert_refused("«group» = \"x\"", message, read);
    }
}
