use vrooli_deploy_core::diagnostics::{explain, rules::RULES};

use super::done::Done;
use crate::arguments::Explain;
use crate::errors::Failure;
use crate::output::{Console, json::Line, table};

pub(crate) fn run(console: &Console, args: &Explain) -> Result<Done, Failure> {
    if let Some(code) = args.code {
        let page = explain(code).ok_or_else(|| Failure::unknown_code(code))?;
        console.result(page);
        console.line(&Line::Code {
            code: code.to_string(),
            name: code.rule().map_or_else(String::new, |rule| rule.name.to_owned()),
            page: Some(page.to_owned()),
        });
        return Ok(Done::read());
    }
    for rule in RULES {
        console.line(&Line::Code { code: rule.code.to_string(), name: rule.name.to_owned(), page: None });
    }
    let rows: Vec<Vec<String>> =
        RULES.iter().map(|rule| vec![rule.code.to_string(), rule.name.to_owned()]).collect();
    console.result(&table(console.out, &["CODE", "NAME"], &rows));
    Ok(Done::read())
}
