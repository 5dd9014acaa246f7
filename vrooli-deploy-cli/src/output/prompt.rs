//! Values that must not be seen: from the terminal without an echo, or from standard input.

use std::io::{BufRead as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use vrooli_deploy_core::secrets::Secret;

/// More than any value that is accepted.
const LARGEST: u64 = 64 * 1024 + 2;

/// Asks on the terminal and reads a line that is not shown as it is typed. Dropping the future
/// gives the terminal its echo back.
pub(crate) async fn hidden(question: &str) -> std::io::Result<Secret<String>> {
    // What goes wrong here shows when the answer is read.
    let _ = write!(std::io::stderr(), "{question} ");
    let _silence = Silence::new()?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().take(LARGEST).read_line(&mut line).map(|_| without_break(line))
    });
    read.await.map_err(std::io::Error::other)?
}

/// Everything on standard input, without one line break at its end.
pub(crate) fn standard_input() -> std::io::Result<Secret<String>> {
    let mut text = String::new();
    std::io::stdin().lock().take(LARGEST).read_to_string(&mut text)?;
    Ok(without_break(text))
}

fn without_break(mut text: String) -> Secret<String> {
    let end = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end.unwrap_or(text.len()));
    Secret::new(text)
}

/// The terminal without its echo, as long as this lives.
struct Silence(Termios);

impl Silence {
    fn new() -> std::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The line break is shown, so that what follows begins on a line of its own.
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_is_no_part_of_a_value() {
        for (text, value) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")]
        {
            assert_eq!(without_break(text.to_owned()).expose(), value);
        }
    }
}
