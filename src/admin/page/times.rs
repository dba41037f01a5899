//! Times on the page: in UTC, and how long ago that is.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

/// A time of the form of RFC 3339, and how far it is from `now`.
pub(super) fn time(text: &str, now: SystemTime) -> Markup {
    html! {
        @match humantime::parse_rfc3339(text) {
            Ok(then) => { (stamp(text)) " " span.soft { (distance(then, now)) } }
            Err(_) => (text)
        }
    }
}

/// A text in which every time is marked as one; a past one with how long ago it was. Of one to come, texts say that
/// themselves.
pub(super) fn marked(text: &str, now: SystemTime) -> Markup {
    html! {
        @for (place, word) in text.split(' ').enumerate() {
            @if place > 0 { " " }
            @let bare = word.trim_end_matches(['.', ',', ';', ':']);
            @match humantime::parse_rfc3339(bare) {
                Ok(then) => { (stamp(bare)) @if then <= now { " (" (distance(then, now)) ")" } (&word[bare.len()..]) }
                Err(_) => (word)
            }
        }
    }
}

fn stamp(text: &str) -> Markup {
    html! { time datetime=(text) { (text) } }
}

/// `5 min ago` or `in 3 days`, rounded down to one unit.
fn distance(then: SystemTime, now: SystemTime) -> String {
    match now.duration_since(then) {
        Ok(past) => format!("{} ago", span(past)),
        Err(ahead) => format!("in {}", span(ahead.duration())),
    }
}

fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_with_their_distance() {
        let now = humantime::parse_rfc3339("2026-11-27T12:00:00Z").expect("a time");
        let rows = [
            ("2026-11-27T12:00:00Z", "0 s ago"),
            ("2026-11-27T11:59:00.250Z", "59 s ago"),
            ("2026-11-27T11:59:00Z", "1 min ago"),
            ("2026-11-27T11:00:00Z", "1 h ago"),
            ("2026-11-25T12:00:01Z", "47 h ago"),
            ("2026-11-25T12:00:00Z", "2 days ago"),
            ("2026-12-11T13:00:00Z", "in 14 days"),
        ];
        for (text, expected) in rows {
            let shown = time(text, now).into_string();
            let marked_up =
                format!("<time datetime=\"{text}\">{text}</time> <span class=\"soft\">{expected}</span>");
            assert_eq!(shown, marked_up);
        }
        assert_eq!(time("<never>", now).into_string(), "&lt;never&gt;");
    }

    #[test]
    fn times_within_a_text_are_marked() {
        let now = humantime::parse_rfc3339("2026-11-27T12:00:00Z").expect("a time");
        let text = "a & b since 2026-11-27T11:55:00Z, 2 calls.";
        let expected = "a &amp; b since <time datetime=\"2026-11-27T11:55:00Z\">2026-11-27T11:55:00Z</time> (5 min ago), 2 calls.";
        assert_eq!(marked(text, now).into_string(), expected);
        let ahead = marked("ends in 1 days, at 2026-11-28T12:00:00Z.", now).into_string();
        assert!(ahead.ends_with("</time>."), "{ahead}");
    }
}
