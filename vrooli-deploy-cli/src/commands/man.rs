use clap::CommandFactory as _;
use clap_mangen::Man;

use super::done::Done;
use crate::arguments::{self, Arguments};
use crate::errors::Failure;
use crate::output::{Console, json::Line};

pub(crate) fn run(console: &Console, args: &arguments::Man) -> Result<Done, Failure> {
    let mut program = Arguments::command();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(program, folder))
            .map_err(|e| Failure::write(folder, &e))?;
        return Ok(Done::read());
    }
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).ok_or_else(|| Failure::unknown_command(name))?.clone(),
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(|e| Failure::system("cannot make the page", &e))?;
    let page = String::from_utf8_lossy(&page);
    console.result(&page);
    console.line(&Line::Text { text: page.into_owned() });
    Ok(Done::read())
}
