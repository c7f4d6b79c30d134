//! Nothing is depended on whose licence asks more of those who ship the program than to name it, and
//! nothing from elsewhere than the registry.

use crate::dependencies::packages;

/// What a dependency may be had under.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let packages = packages();
    assert!(packages.len() > 200, "the dependencies were found: {}", packages.len());
    let refused: Vec<_> = packages
        .iter()
        .filter(|package| !is_allowed(&package.licence))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.licence))
        .collect();
    assert!(refused.is_empty(), "licences that are not in ALLOWED:\n{}", refused.join("\n"));
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let elsewhere: Vec<_> =
        packages().into_iter().filter(|package| package.source != REGISTRY).collect();
    assert!(elsewhere.is_empty(), "not from the registry: {elsewhere:?}");
}

/// An SPDX expression: `AND` asks for both, `OR` for one; `/` is how old manifests write `OR`.
fn is_allowed(expression: &str) -> bool {
    let words = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = words.split_whitespace().collect();
    matches!(any_of(&words), Some((is_allowed, [])) if is_allowed)
}

fn any_of<'a, 'b>(words: &'a [&'b str]) -> Option<(bool, &'a [&'b str])> {
    let (mut is_allowed, mut rest) = all_of(words)?;
    while let Some((&"OR", after)) = rest.split_first() {
        let (other, after) = all_of(after)?;
        (is_allowed, rest) = (is_allowed || other, after);
    }
    Some((is_allowed, rest))
}

fn all_of<'a, 'b>(words: &'a [&'b str]) -> Option<(bool, &'a [&'b str])> {
    let (mut is_allowed, mut rest) = one(words)?;
    while let Some((&"AND", after)) = rest.split_first() {
        let (other, after) = one(after)?;
        (is_allowed, rest) = (is_allowed && other, after);
    }
    Some((is_allowed, rest))
}

fn one<'a, 'b>(words: &'a [&'b str]) -> Option<(bool, &'a [&'b str])> {
    match words {
        ["(", inner @ ..] => match any_of(inner)? {
            (is_allowed, [")", rest @ ..]) => Some((is_allowed, rest)),
            _ => None,
        },
        [name, "WITH", exception, rest @ ..] => {
            Some((ALLOWED.contains(&format!("{name} WITH {exception}").as_str()), rest))
        }
        [name, rest @ ..] => Some((ALLOWED.contains(name), rest)),
        [] => None,
    }
}

#[test]
fn a_licence_is_allowed_by_what_it_asks() {
    let rows = [
        ("MIT", true, "one that is allowed"),
        ("MIT/Apache-2.0", true, "an old manifest"),
        ("Apache-2.0 / MIT", true, "an old manifest with spaces"),
        ("MIT OR GPL-3.0-only", true, "one of two is enough"),
        ("(MIT OR GPL-3.0-only) AND Unicode-3.0", true, "both, and one of them by choice"),
        ("Apache-2.0 WITH LLVM-exception", true, "an exception that is allowed"),
        ("", false, "no licence gives no right"),
        ("GPL-3.0-only", false, "it asks for our source"),
        ("MIT AND GPL-3.0-only", false, "both are asked"),
        ("MIT AND (GPL-3.0-only OR AGPL-3.0-only)", false, "neither choice is allowed"),
        ("MPL-2.0", false, "it asks for the source of its files"),
        ("Apache-2.0 WITH Other-exception", false, "an exception that nobody looked at"),
        ("MIT OR", false, "half an expression"),
        ("(MIT", false, "half an expression"),
        ("MIT Apache-2.0", false, "no expression"),
        ("mit", false, "no name of a licence"),
    ];
    for (expression, expected, reason) in rows {
        assert_eq!(is_allowed(expression), expected, "{reason}: {expression:?}");
    }
}
