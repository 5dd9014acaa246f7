//! Results that go to a file if one is named.

use std::io::Write as _;
use std::path::Path;

use crate::arguments::ManifestFormat;
use crate::errors::Failure;
use crate::output::Console;

/// The form that was asked for, else that of the file's name, else YAML.
pub(crate) fn format(asked: Option<ManifestFormat>, out: Option<&Path>) -> ManifestFormat {
    let by_name = || {
        let json =
            out.and_then(Path::extension).is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if json { ManifestFormat::Json } else { ManifestFormat::Yaml }
    };
    asked.unwrap_or_else(by_name)
}

/// Prints a text, or writes it to a file, whole or not at all.
pub(crate) fn out(console: &Console, file: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(file) = file else {
        console.result(text);
        return Ok(());
    };
    write(file, text).map_err(|error| Failure::write(file, &error))?;
    console.note(&format!("written to {}", file.display()));
    Ok(())
}

fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = file.with_file_name(name);
    let write = || {
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&temporary, file)
    };
    write().inspect_err(|_| {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    })
}
