//! Which versions an app takes, from what it declares.

/// A lowest major version, from what an app declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct VersionWish {
    pub(super) lowest: u32,
    pub(super) highest: u32,
}

impl VersionWish {
    /// Reads `15`, `15.2`, `>=14`, `^15`, `16-3.4` (an image's tag). What cannot be read,
    /// or names no version that there was, wishes nothing.
    pub(super) fn read(text: Option<&str>) -> Self {
        let any = Self { lowest: 0, highest: u32::MAX };
        let Some(text) = text.map(str::trim) else {
            return any;
        };
        let number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let major: String = number.chars().take_while(char::is_ascii_digit).collect();
        // `>=2023.0` is on other resources a year; no major of PostgreSQL is that high.
        let Some(major) = major.parse::<u32>().ok().filter(|major| (9..100).contains(major)) else {
            return any;
        };
        if text.starts_with('>') || text.starts_with('~') && text.starts_with("~>") {
            Self { lowest: major, highest: u32::MAX }
        } else if text.starts_with('<') {
            Self { lowest: 0, highest: major }
        } else {
            Self { lowest: major, highest: major }
        }
    }

    /// `16`, `15 or newer`.
    pub(super) fn in_words(self) -> String {
        if self.highest == u32::MAX { format!("{} or newer", self.lowest) } else { self.highest.to_string() }
    }

    pub(super) fn takes(self, major: u32) -> bool {
        (self.lowest..=self.highest).contains(&major)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_apps_write_them() {
        let takes = |text: &str, major| VersionWish::read(Some(text)).takes(major);
        assert!(takes(">=14", 15) && !takes(">=16", 15));
        assert!(takes("15", 15) && !takes("15", 16));
        assert!(takes("16-3.4", 16));
        assert!(takes("latest", 15) && takes("unknown", 15) && takes(">=2023.0", 15));
        assert!(VersionWish::read(None).takes(15));
    }
}
