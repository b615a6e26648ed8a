//! What a topic trait may hold, and where the error for anything else points.

use super::{Role, Topic};
use crate::marked::assert_refused;

/// Checks that a trait is refused.
#[track_caller]
fn refused(marked: &str, message: &str) {
    assert_refused(marked, message, Topic::parse);
}

/// Checks that a trait with this one method is refused.
#[track_caller]
fn method_refused(marked: &str, message: &str) {
    refused(&format!("pub trait Topic {{ {marked} }}"), message);
}

/// Checks that a procedure with these arguments after `&self` is refused.
#[track_caller]
fn arguments_refused(marked: &str, message: &str) {
    method_refused(&format!("#[procedure(1)] fn get(&self, {marked}) -> Result<(), Self::Error>;"), message);
}

#[test]
fn a_good_topic_is_read_whole() {
    let item = syn::parse_str(
        "pub trait Topic {
            /// Gives it.
            #[procedure(7, group = \"xfs\")]
            fn get(&self, name: &str, size: i64, #[optional] more: &More, file: FileOut<'_>)
            -> Result<Vec<u8>, Self::Error>;
            #[procedure(100_001)]
            fn ping(&self) -> Result<(), Self::Error>;
        }",
    );
    let topic = Topic::parse(item.unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let [get, ping] = topic.procedures.as_slice() else { panic!("two procedures") };
    assert_eq!((get.name.to_string(), get.number.to_string()), ("get".to_owned(), "7".to_owned()));
    assert_eq!(get.group.as_ref().map(syn::LitStr::value), Some("xfs".to_owned()));
    let roles = get.arguments.iter().map(|argument| &argument.role).collect::<Vec<_>>();
    assert!(matches!(
        roles[..],
        [
            Role::Plain { is_reference: true, .. },
            Role::Plain { is_reference: false, .. },
            Role::Optional(_),
            Role::FileOut
        ]
    ));
    assert_eq!((super::value(ping), ping.group.is_none(), ping.arguments.len()), (100_001, true, 0));
}

#[test]
fn the_attributes_of_the_macro_leave_the_trait() {
    let item = syn::parse_str(
        "trait Topic { #[doc = \"kept\"] #[procedure(1)]
         fn get(&self, #[optional] more: &More) -> Result<(), Self::Error>; }",
    );
    let item = Topic::parse(item.unwrap()).unwrap_or_else(|error| panic!("{error}")).item;
    let text = quote::quote!(#item).to_string();
    assert!(text.contains("kept") && !text.contains("procedure") && !text.contains("optional"), "{text}");
}

#[test]
fn a_topic_holds_procedures_only() {
    refused(
        "trait Topic { «type Error;» #[procedure(1)] fn ping(&self) -> Result<(), Self::Error>; }",
        "a topic trait holds procedures only",
    );
    refused(
        "trait Topic«<T: Copy>» { #[procedure(1)] fn ping(&self) -> Result<(), Self::Error>; }",
        "a topic trait has no generic parameters",
    );
}

#[test]
fn a_procedure_has_a_number() {
    method_refused(
        "fn «ping»(&self) -> Result<(), Self::Error>;",
        "a procedure needs its number: #[procedure(NUMBER)]",
    );
    method_refused(
        "#[«procedure»] fn ping(&self) -> Result<(), Self::Error>;",
        "expected attribute arguments in parentheses: #[procedure(...)]",
    );
    method_refused(
        "#[procedure(«\"7\"»)] fn ping(&self) -> Result<(), Self::Error>;",
        "expected integer literal",
    );
    method_refused(
        "#[procedure(«4_294_967_296»)] fn ping(&self) -> Result<(), Self::Error>;",
        "number too large to fit in target type",
    );
}

#[test]
fn no_number_is_given_twice_however_it_is_written() {
    refused(
        "trait Topic {
            #[procedure(1_000)] fn sync(&self) -> Result<(), Self::Error>;
            #[procedure(2)] fn ping(&self) -> Result<(), Self::Error>;
            #[procedure(«0x3e8»)] fn exit(&self) -> Result<(), Self::Error>;
        }",
        "procedure number 0x3e8 already belongs to `sync`",
    );
}

#[test]
fn only_a_group_follows_the_number() {
    method_refused(
        "#[procedure(1, «since» = \"1.0\")] fn ping(&self) -> Result<(), Self::Error>;",
        "only `group = \"NAME\"` may follow the number",
    );
    method_refused(
        "#[procedure(1, group = «xfs»)] fn ping(&self) -> Result<(), Self::Error>;",
        "expected string literal",
    );
    method_refused(
        "#[procedure(1, group = \"xfs\"«,» 2)] fn ping(&self) -> Result<(), Self::Error>;",
        "unexpected token",
    );
}

#[test]
fn a_procedure_returns_a_result_with_the_traits_error() {
    let message = "a procedure returns `Result<VALUE, Self::Error>`";
    method_refused("#[procedure(1)] fn «ping»(&self);", message);
    for wrong in [
        "bool",
        "Option<bool>",
        "Result<bool>",
        "Result<bool, Failure>",
        "Result<bool, Error>",
        "Result<bool, Self::Error, u8>",
        "Answer<bool, Self::Error>",
        "()",
    ] {
        method_refused(&format!("#[procedure(1)] fn ping(&self) -> «{wrong}»;"), message);
    }
}

#[test]
fn a_procedure_takes_self_by_reference() {
    let message = "a procedure's first argument is `&self`";
    method_refused("#[procedure(1)] fn «ping»() -> Result<(), Self::Error>;", message);
    for wrong in ["self", "&mut self", "self: &Self", "secs: i32"] {
        method_refused(&format!("#[procedure(1)] fn ping(«{wrong}») -> Result<(), Self::Error>;"), message);
    }
}

#[test]
fn a_procedure_is_a_plain_function_without_a_body() {
    method_refused(
        "#[procedure(1)] fn ping(&self) -> Result<(), Self::Error> «{ Ok(()) }»",
        "a procedure has no default body: the daemon implements it",
    );
    method_refused(
        "#[procedure(1)] fn ping«<T>»(&self, value: T) -> Result<(), Self::Error>;",
        "a procedure has no generic parameters",
    );
    method_refused(
        "#[procedure(1)] fn ping«<'a>»(&self, text: &'a str) -> Result<(), Self::Error>;",
        "a procedure has no generic parameters",
    );
    method_refused(
        "#[procedure(1)] fn ping(&self) -> Result<(), Self::Error> «where Self: Sized»;",
        "a procedure has no `where` clause",
    );
    method_refused(
        "#[procedure(1)] «async» fn ping(&self) -> Result<(), Self::Error>;",
        "a procedure is a plain `fn`: who calls it waits for it",
    );
    method_refused(
        "#[procedure(1)] «unsafe» fn ping(&self) -> Result<(), Self::Error>;",
        "a procedure is a plain `fn`: the daemon checks its arguments",
    );
}

#[test]
fn an_argument_is_a_name_and_a_type_that_travels_one_way() {
    arguments_refused("«(x, y)»: (i32, i32)", "an argument has a plain name: it is part of the API");
    arguments_refused("name: &str, «_»: i32", "an argument has a plain name: it is part of the API");
    arguments_refused("content: «&mut Vec<u8>»", "an argument travels one way: it cannot be `&mut`");
}

#[test]
fn a_procedure_transfers_one_file_at_most_and_by_value() {
    arguments_refused(
        "source: FileIn<'_>, name: &str, target: «FileOut<'_>»",
        "a procedure transfers one file at most",
    );
    arguments_refused("source: «&FileIn<'_>»", "a file is passed by value");
    arguments_refused("target: «&guestfs_api::FileOut<'_>»", "a file is passed by value");
}

#[test]
fn optional_arguments_are_one_struct_behind_the_plain_arguments() {
    arguments_refused(
        "#[optional] options: &Options, «path»: &GuestPath",
        "plain arguments come before the optional ones",
    );
    arguments_refused(
        "#[optional] options: &Options, #[optional] more: «&More»",
        "all optional arguments go into one struct",
    );
    for wrong in ["Options", "&mut Options", "FileIn<'_>"] {
        arguments_refused(
            &format!("#[optional] options: «{wrong}»"),
            "optional arguments are passed as `&Struct`",
        );
    }
    arguments_refused("#[optional«(»rw)] options: &Options", "unexpected token in attribute");
}
