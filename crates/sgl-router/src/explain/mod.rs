//! `sgl-router explain`: one routing decision in words.

mod terms;
mod words;

pub(crate) use terms::{ValueUnit, cost_unit, in_words as term_in_words, number, quantity, seconds};
pub use words::in_words;
pub(crate) use words::reason_in_words;

use crate::error::CommandError;
use crate::router_client::{RouterArgs, RouterClient, RouterClientError, path_part};
use crate::runtime::block_on_one;
use crate::terminal::say;
use clap::Args;
use http::Method;

/// The flags of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The request: the `x-request-id` of its response
    request_id: String,

    #[command(flatten)]
    router: RouterArgs,

    /// Print the trace as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<(), CommandError> {
    let client = RouterClient::new(&args.router)?;
    let path = format!("/v1/traces/{}", path_part(&args.request_id));
    let reply = block_on_one(async { Ok(client.send(Method::GET, &path, None).await) })?;
    let trace = match reply {
        Ok(reply) => reply.body,
        Err(RouterClientError::Refused { status: 501, .. }) => {
            return Err(CommandError::runtime(
                "the router keeps no traces: start it with --enable-tracking, and ask for a request that came after that",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    say(if args.json { format!("{trace:#}\n") } else { in_words(&trace) });
    Ok(())
}
