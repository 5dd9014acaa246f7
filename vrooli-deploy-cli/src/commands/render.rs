use super::change;
use super::context::Context;
use super::done::Done;
use crate::arguments::Render;
use crate::errors::Failure;
use crate::output;
use crate::output::json::{Line, RenderedLine};

pub(crate) async fn run(context: &Context, args: &Render) -> Result<Done, Failure> {
    let (workspace, target) = context.target_with(&args.app.app, &args.values).await?;
    let rendering = workspace.render(&target, &args.format, &args.options()).await?;
    let console = &context.console;
    change::input(console, &rendering.diagnostics);
    let written = rendering.write(&args.out, args.overwrite)?;
    for (path, state) in &written.files {
        console.line(&Line::Rendered(RenderedLine::new(path, *state)));
    }
    console.result(&output::rendered(&written, &args.out, console.verbose > 0));
    Ok(Done::changed(written.changed()))
}
