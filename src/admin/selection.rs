//! The part of the status that `/status?…` asks for.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::page::ROWS;
use super::status::{PageReport, Status};

/// The parameters: the name of a tenant or a caller, and pages of both tables, counted from 1.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection<'q> {
    tenant: Option<&'q str>,
    caller: Option<&'q str>,
    tenants: Option<NonZeroUsize>,
    callers: Option<NonZeroUsize>,
}

/// Why there is no such part.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SelectionError<'q> {
    #[error(
        "/status has no parameter {0:?}; it takes tenant=NAME, caller=NAME, tenants=PAGE and callers=PAGE"
    )]
    Unknown(&'q str),
    #[error("{0} is there twice; /status takes it once")]
    Twice(&'q str),
    #[error("{name}={value:?} is no page; pages are numbers from 1")]
    NoPage { name: &'q str, value: &'q str },
    #[error("the configuration has no {kind} {name:?}")]
    Nobody { kind: &'static str, name: &'q str },
}

impl<'q> Selection<'q> {
    /// Reads the query of a request. Names are of letters that need no percent-encoding.
    pub(super) fn of(query: Option<&'q str>) -> Result<Self, SelectionError<'q>> {
        let mut selection = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let was_there = match name {
                "tenant" => selection.tenant.replace(value).is_some(),
                "caller" => selection.caller.replace(value).is_some(),
                "tenants" => selection.tenants.replace(page(name, value)?).is_some(),
                "callers" => selection.callers.replace(page(name, value)?).is_some(),
                _ => return Err(SelectionError::Unknown(name)),
            };
            if was_there {
                return Err(SelectionError::Twice(name));
            }
        }
        Ok(selection)
    }

    /// Leaves of a status what was asked for. Problems, and what is about the process, stay as they are.
    pub(super) fn apply(&self, status: &mut Status) -> Result<(), SelectionError<'q>> {
        if let Some(name) = self.tenant {
            only("tenant", name, &mut status.tenants)?;
            status.busiest_budgets.retain(|busy| busy.tenant == name);
            status.refusals.retain(|group| group.tenant.as_deref() == Some(name));
            status.recent_refusals.retain(|refused| refused.tenant.as_deref() == Some(name));
        }
        if let Some(name) = self.caller {
            only("caller", name, &mut status.callers)?;
            status.refusals.retain(|group| group.caller.as_deref() == Some(name));
            status.recent_refusals.retain(|refused| refused.caller.as_deref() == Some(name));
        }
        let tenants = self.tenants.map(|page| ("tenants", cut(&mut status.tenants, page)));
        let callers = self.callers.map(|page| ("callers", cut(&mut status.callers, page)));
        status.pages = tenants.into_iter().chain(callers).collect();
        Ok(())
    }
}

fn page<'q>(name: &'q str, value: &'q str) -> Result<NonZeroUsize, SelectionError<'q>> {
    value.parse().map_err(|_| SelectionError::NoPage { name, value })
}

/// Leaves the entry of this name.
fn only<'q, T>(
    kind: &'static str,
    name: &'q str,
    entries: &mut BTreeMap<String, T>,
) -> Result<(), SelectionError<'q>> {
    entries.retain(|known, _| known == name);
    if entries.is_empty() { Err(SelectionError::Nobody { kind, name }) } else { Ok(()) }
}

/// Leaves the entries of one page, in the order of their names.
fn cut<T>(entries: &mut BTreeMap<String, T>, page: NonZeroUsize) -> PageReport {
    let all = entries.len();
    let first = (page.get() - 1).saturating_mul(ROWS);
    let mut place = 0..;
    entries.retain(|_, _| {
        place.next().is_some_and(|place| (first..first.saturating_add(ROWS)).contains(&place))
    });
    PageReport { page, last_page: all.div_ceil(ROWS).max(1), entries: all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_names_and_pages() {
        let number = |number| NonZeroUsize::new(number);
        assert_eq!(Selection::of(None), Ok(Selection::default()));
        assert_eq!(Selection::of(Some("&")), Ok(Selection::default()));
        let all = Selection {
            tenant: Some("shop"),
            caller: Some("orders"),
            tenants: number(2),
            callers: number(17),
        };
        assert_eq!(Selection::of(Some("tenant=shop&caller=orders&tenants=2&callers=17")), Ok(all));
        for (query, expected) in [
            ("x=1", SelectionError::Unknown("x")),
            ("Tenant=shop", SelectionError::Unknown("Tenant")),
            ("tenant=a&tenant=a", SelectionError::Twice("tenant")),
            ("tenants=0", SelectionError::NoPage { name: "tenants", value: "0" }),
            ("callers=-1", SelectionError::NoPage { name: "callers", value: "-1" }),
            ("callers", SelectionError::NoPage { name: "callers", value: "" }),
        ] {
            assert_eq!(Selection::of(Some(query)), Err(expected), "{query}");
        }
    }

    #[test]
    fn a_page_has_fifty_entries() {
        let names = |page| {
            let mut entries: BTreeMap<String, usize> =
                (0..120).map(|number| (format!("{number:03}"), number)).collect();
            let report = cut(&mut entries, NonZeroUsize::new(page).expect("not zero"));
            assert_eq!((report.last_page, report.entries), (3, 120));
            (entries.len(), entries.keys().next().cloned())
        };
        assert_eq!(names(1), (50, Some("000".to_owned())));
        assert_eq!(names(3), (20, Some("100".to_owned())));
        assert_eq!((names(4).0, names(usize::MAX).0), (0, 0));
    }
}
