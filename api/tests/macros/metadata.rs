//! What the macro says about each procedure.

use guestfs_api::{Argument, OptionalArguments, Procedure};

use crate::topic::{DescribeOptions, PROCEDURES};

fn argument(name: &'static str, kind: &'static str) -> Argument {
    Argument { name, kind }
}

#[test]
fn procedures_are_listed_in_the_traits_order() {
    let listed = PROCEDURES.iter().map(|procedure| (procedure.number, procedure.name)).collect::<Vec<_>>();
    assert_eq!(
        listed,
        [
            (200_001, "ping"),
            (200_002, "join"),
            (200_003, "describe"),
            (200_004, "store"),
            (200_005, "fetch"),
            (200_006, "match"),
        ]
    );
}

#[test]
fn arguments_have_their_names_and_types() {
    let [ping, join, describe, store, fetch, r#match] = PROCEDURES else { panic!("six procedures") };
    assert_eq!(ping.arguments, []);
    assert_eq!(
        join.arguments,
        [
            argument("separator", "str"),
            argument("words", "[String]"),
            argument("times", "i32"),
            argument("tail", "Option<u64>"),
        ]
    );
    assert_eq!(describe.arguments, [argument("name", "FileName")]);
    assert_eq!(store.arguments, [argument("content", "FileIn"), argument("name", "FileName")]);
    assert_eq!(
        fetch.arguments,
        [argument("name", "FileName"), argument("content", "FileOut"), argument("offset", "u32")]
    );
    assert_eq!(r#match.arguments[4], argument("type", "str"));
}

#[test]
fn results_have_their_types() {
    let results = PROCEDURES.iter().map(|procedure| procedure.result).collect::<Vec<_>>();
    assert_eq!(results, ["()", "Vec<String>", "Table<String,String>", "i64", "()", "String"]);
}

#[test]
fn files_groups_and_optional_arguments_are_told() {
    let facts = |procedure: &&'static Procedure| {
        (procedure.takes_file(), procedure.gives_file(), procedure.group, procedure.optional_mask())
    };
    assert_eq!(
        PROCEDURES.iter().map(facts).collect::<Vec<_>>(),
        [
            (false, false, None, 0),
            (false, false, Some("joining"), 0),
            (false, false, None, 0b11_1111),
            (true, false, None, 0),
            (false, true, None, 0),
            (false, false, None, 0),
        ]
    );
    assert_eq!(PROCEDURES[2].optional_arguments, ["upper", "width", "limit", "title", "tags", "type"]);
}

#[test]
fn each_optional_argument_has_the_bit_of_its_place() {
    let masks = [
        DescribeOptions { upper: Some(false), ..Default::default() },
        DescribeOptions { width: Some(0), ..Default::default() },
        DescribeOptions { limit: Some(0), ..Default::default() },
        DescribeOptions { title: Some(String::new()), ..Default::default() },
        DescribeOptions { tags: Some(Vec::new()), ..Default::default() },
        DescribeOptions { r#type: Some(Default::default()), ..Default::default() },
    ]
    .map(|options| options.mask());
    assert_eq!(masks, [1, 2, 4, 8, 16, 32]);
    assert_eq!(DescribeOptions::default().mask(), 0);
}
