//! The page with the form that finds a tenant or a caller by its name. It does not load itself again, so that nothing
//! is lost while somebody types.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{ROWS, Refresh, Status, caller_link, frame, tenant_link};

/// The longest name that a tenant or a caller can have.
const NAME_LEN_MAX: usize = 64;

/// The answer to a search.
pub(in crate::admin) enum Found {
    /// One tenant or caller is called so; this is the path of its page.
    Page(String),
    /// Nothing was asked for, or not exactly one has this name.
    List(Markup),
}

/// Searches for `?name=…` among tenants and callers.
pub(in crate::admin) fn find(status: &Status, query: Option<&str>) -> Found {
    let written = written(query);
    let exact = written.and_then(Result::ok).unwrap_or_default();
    match (status.tenants.contains_key(exact), status.callers.contains_key(exact)) {
        (true, false) => Found::Page(format!("/tenants/{exact}")),
        (false, true) => Found::Page(format!("/callers/{exact}")),
        (true, true) | (false, false) => {
            Found::List(frame(status, "Find", Refresh::Never, &body(status, written)))
        }
    }
}

/// A text that no name has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoName;

/// The name that was written; `None` if the form was not sent, or sent empty. Names are of letters that a form does not
/// escape; it sends blanks as `+`.
fn written(query: Option<&str>) -> Option<Result<&str, NoName>> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let name = pairs.filter(|(key, _)| *key == "name").map(|(_, value)| value.trim_matches('+')).next()?;
    let fits = name.len() <= NAME_LEN_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (!name.is_empty()).then_some(if fits { Ok(name) } else { Err(NoName) })
}

fn body(status: &Status, written: Option<Result<&str, NoName>>) -> Markup {
    let name = written.and_then(Result::ok).unwrap_or_default();
    html! {
        h2 { "Find a tenant or a caller" }
        form.find action="/find" role="search" {
            label for="name" { "Name, or a part of it" }
            input id="name" name="name" type="search" value=(name) maxlength=(NAME_LEN_MAX) autocomplete="off" autocapitalize="off" spellcheck="false" autofocus[written.is_none()];
            button { "Find" }
        }
        @match written {
            None => {},
            Some(Err(NoName)) => p { "Names are of at most " (NAME_LEN_MAX) " letters, digits, dots, _ and -." },
            Some(Ok(name)) => {
                (list("Tenants", &matching(status.tenants.keys(), name), tenant_link))
                (list("Callers", &matching(status.callers.keys(), name), caller_link))
            }
        }
    }
}

/// The names that have this text in them, those that begin with it first.
fn matching<'s>(names: impl Iterator<Item = &'s String>, text: &str) -> Vec<&'s str> {
    let text = text.to_ascii_lowercase();
    let place = |name: &&str| name.to_ascii_lowercase().find(&text);
    let mut found: Vec<&str> = names.map(String::as_str).filter(|name| place(name).is_some()).collect();
    found.sort_by_key(|name| Reverse(place(name) == Some(0)));
    found
}

fn list(title: &str, names: &[&str], link: fn(&str) -> Markup) -> Markup {
    html! {
        h2 { (title) }
        @if names.is_empty() { p.soft { "None has this in its name." } } @else {
            ul { @for name in names.iter().take(ROWS) { li { (link(name)) } } }
            @if names.len() > ROWS { p.soft { (names.len() - ROWS) " more; write more of the name." } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_a_name_or_refused() {
        for (query, expected) in [
            (None, None),
            (Some("name="), None),
            (Some("name=++"), None),
            (Some("x=1&name=shop"), Some(Ok("shop"))),
            (Some("name=+Team.a_b-1+"), Some(Ok("Team.a_b-1"))),
            (Some("name=a+b"), Some(Err(NoName))),
            (Some("name=%3Cscript%3E"), Some(Err(NoName))),
            (Some("name=../reload"), Some(Err(NoName))),
        ] {
            assert_eq!(written(query), expected, "{query:?}");
        }
        let long = format!("name={}", "x".repeat(NAME_LEN_MAX + 1));
        assert_eq!(written(Some(&long)), Some(Err(NoName)));
    }

    #[test]
    fn names_that_begin_with_the_text_are_first() {
        let names = ["a-shop", "Shop", "news", "shop-2"].map(str::to_owned);
        assert_eq!(matching(names.iter(), "sHop"), ["Shop", "shop-2", "a-shop"]);
    }
}
