use std::fmt::Write as _;

use super::{SecretsPlan, TemplateOptions, about, line, others, to_fill};

pub(super) fn write(plan: &SecretsPlan, options: &TemplateOptions) -> String {
    let mut text = format!(
        "# Secrets of {} on the tier {}. Fill in, keep out of version control.\n",
        options.stack, plan.tier
    );
    for secret in to_fill(plan) {
        let need = if secret.required { "required" } else { "optional" };
        let about = about(secret);
        let separator = if about.is_empty() { "" } else { "; " };
        // A `String` takes everything.
        let _ = write!(text, "\n# {about}{separator}{need}, {}", line(&secret.from()));
        if let Some(format) = &secret.format {
            let _ = write!(text, "\n# format: {}", line(format));
        }
        let _ = writeln!(text, "\n{}=", secret.name);
    }
    let mut first = true;
    for (secret, why) in others(plan) {
        let gap = if std::mem::take(&mut first) { "\n" } else { "" };
        let _ = writeln!(text, "{gap}# {} {}", secret.name, line(&why));
    }
    text
}
