//! Formats an error and its causes as one line of a log.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write};

/// Upper bound of the characters shown of an error, because a peer can put text of its own into one.
const LENGTH_MAX: usize = 1024;

/// Shows an error and its sources, outermost first: `there is no tunnel: the proxy refused it with status 407`.
///
/// Control characters are escaped: text from a peer, such as a name in a certificate, can neither end the line nor
/// control a terminal.
pub struct Causes<'e>(pub &'e (dyn Error + 'static));

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut line = EscapedLine { out: f, left: LENGTH_MAX };
        let mut told = self.0.to_string();
        line.write_str(&told)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some errors tell their cause themselves.
            if !told.ends_with(&text) {
                write!(line, ": {text}")?;
                told = text;
            }
            next = cause.source();
        }
        Ok(())
    }
}

struct EscapedLine<'l, 'f> {
    out: &'l mut Formatter<'f>,
    left: usize,
}

impl Write for EscapedLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars().take(self.left) {
            self.left -= 1;
            if character.is_control() {
                write!(self.out, "{}", character.escape_default())?;
            } else {
                self.out.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_on_one_line() {
        let inner = io::Error::other("in\nner\u{1b}[2J \u{3c0}");
        assert_eq!(Causes(&Outer(inner)).to_string(), "outside: in\\nner\\u{1b}[2J \u{3c0}");
        let long = Outer(io::Error::other("x".repeat(2 * LENGTH_MAX)));
        assert_eq!(Causes(&long).to_string().len(), LENGTH_MAX);
        assert_eq!(Causes(&io::Error::other("alone")).to_string(), "alone");
        let twice = Outer(io::Error::other(Outer(io::Error::other("outside"))));
        assert_eq!(Causes(&twice).to_string(), "outside");
    }
}
