//! What others print, kept within bounds and read to its end.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::stream::Asked;

/// How much is kept of what `ssh` or a script complains, in bytes.
pub(super) const LARGEST_WORDS: usize = 4 * 1024;

/// The last of a text, from the start of a line where that fits.
pub(super) fn last(text: &str, most: usize) -> String {
    let text = text.trim();
    let Some(mut at) = text.len().checked_sub(most).filter(|at| *at > 0) else { return text.to_owned() };
    while !text.is_char_boundary(at) {
        at += 1;
    }
    let rest = &text[at..];
    rest.split_once('\n').map_or(rest, |(_, whole)| whole).to_owned()
}

/// The first bytes of a stream, and whether there were more. It is read to its end, all of it by
/// `asked` as well, which ends with it.
pub(crate) async fn first_of(
    stream: Option<impl AsyncRead + Unpin>,
    most: usize,
    mut asked: Asked,
) -> (Vec<u8>, bool) {
    let Some(mut stream) = stream else { return (Vec::new(), false) };
    let (mut kept, mut more) = (Vec::new(), false);
    let mut buffer = vec![0; 16 * 1024];
    // An error is an end, too: the status says which.
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = most.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
        more |= room < count;
        asked.read(&buffer[..count]);
    }
    (kept, more)
}

/// The last of a stream of text. It is read to its end.
pub(super) async fn last_of(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > 4 * LARGEST_WORDS {
            kept.drain(..kept.len() - 2 * LARGEST_WORDS);
        }
    }
    last(&String::from_utf8_lossy(&kept), LARGEST_WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_begin_with_a_line() {
        assert_eq!(last(" all \n", 10), "all");
        assert_eq!(last("first\nsecond\nthird", 10), "third");
        assert_eq!(last("äääääääääääääääääääää", 5), "ää");
    }

    #[tokio::test]
    async fn output_is_bounded_and_read_to_its_end() {
        let first = async |text: &'static str, most| {
            let (asked, _) = Asked::new();
            let (kept, more) = first_of(Some(text.as_bytes()), most, asked).await;
            (String::from_utf8(kept).unwrap(), more)
        };
        assert_eq!(first("0123456789", 4).await, ("0123".to_owned(), true));
        assert_eq!(first("0123", 4).await, ("0123".to_owned(), false));
        let long = format!("{}\nthe end", "x".repeat(100_000));
        assert_eq!(last_of(Some(long.as_bytes())).await, "the end");
    }
}
