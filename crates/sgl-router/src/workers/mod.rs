//! `sgl-router workers`: lists, adds, drains and removes workers of a running router.

mod table;

use crate::error::CommandError;
use crate::router_client::{RouterArgs, RouterClient, path_part};
use crate::runtime::block_on_one;
use crate::terminal::say;
use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use router_config::Secret;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two looks at a worker that drains.
const POLL: Duration = Duration::from_millis(200);

/// The flags of `workers`.
#[derive(Debug, Args)]
pub(crate) struct WorkersArgs {
    #[command(subcommand)]
    action: Option<WorkersAction>,

    #[command(flatten)]
    router: RouterArgs,

    /// Print the router's answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

/// What to do; `list` if nothing is said.
#[derive(Debug, Subcommand)]
enum WorkersAction {
    /// List the workers with their state, load and problems
    List,
    /// Add a worker; it gets requests once its health check has passed
    Add(AddArgs),
    /// Remove a worker, and wait until the requests that it has are done
    Drain {
        /// Id or URL of the worker
        worker: String,
        /// Stop waiting after this time; the worker drains on
        #[arg(long, value_name = "SECS")]
        timeout_secs: Option<f64>,
    },
    /// Remove a worker, and do not wait: it gets no new requests, and those that it has are done in the background
    Remove {
        /// Id or URL of the worker
        worker: String,
    },
}

/// The worker to add.
#[derive(Debug, Args)]
struct AddArgs {
    /// Base URL of the worker, such as http://10.0.0.1:30000
    worker: String,

    /// What the worker does, where prefill and decode are disaggregated
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = WorkerTypeArg::Regular)]
    worker_type: WorkerTypeArg,

    /// Port of a prefill worker's bootstrap server
    #[arg(long, value_name = "PORT")]
    bootstrap_port: Option<u16>,

    /// Share of requests relative to other workers
    #[arg(long, value_name = "FACTOR")]
    weight: Option<f64>,

    /// Priority among workers
    #[arg(long, value_name = "N")]
    priority: Option<u32>,

    /// Key that the worker wants
    #[arg(long, value_name = "KEY")]
    worker_api_key: Option<Secret>,

    /// Labels that the list shows
    #[arg(long, value_name = "NAME=VALUE", num_args = 1.., value_parser = label)]
    label: Vec<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum WorkerTypeArg {
    Regular,
    Prefill,
    Decode,
}

fn label(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) fn run(args: &WorkersArgs) -> Result<(), CommandError> {
    let client = RouterClient::new(&args.router)?;
    block_on_one(async {
        match &args.action {
            None | Some(WorkersAction::List) => {
                let reply = client.send(Method::GET, "/workers", None).await?;
                say(if args.json { pretty(&reply.body) } else { table::render(&reply.body) });
            }
            Some(WorkersAction::Add(new)) => {
                let reply = client.send(Method::POST, "/workers", Some(&spec(new))).await?;
                print(args, &reply.body, &text(&reply.body, "message"));
            }
            Some(WorkersAction::Drain { worker, timeout_secs }) => {
                let limit = timeout_secs.map(Duration::try_from_secs_f64).transpose();
                let limit = limit.map_err(CommandError::flag("--timeout-secs"))?;
                let (body, took) = drain(&client, worker, limit).await?;
                print(args, &body, &format!("it is gone, after {:.1} s", took.as_secs_f64()));
            }
            Some(WorkersAction::Remove { worker }) => {
                print(
                    args,
                    &delete(&client, worker).await?,
                    "the requests that it has are done in the background",
                );
            }
        }
        Ok(())
    })
}

/// The body of `POST /workers`.
fn spec(args: &AddArgs) -> Value {
    let mut spec = Map::new();
    spec.insert("url".to_owned(), args.worker.as_str().into());
    let kind = match args.worker_type {
        WorkerTypeArg::Regular => None,
        WorkerTypeArg::Prefill => Some(json!("prefill")),
        WorkerTypeArg::Decode => Some(json!("decode")),
    };
    let labels: Map<_, _> = args.label.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let members = [
        ("worker_type", kind),
        ("bootstrap_port", args.bootstrap_port.map(Into::into)),
        ("weight", args.weight.map(Into::into)),
        ("priority", args.priority.map(Into::into)),
        ("api_key", args.worker_api_key.as_ref().map(|key| json!(key.expose()))),
        ("labels", (!labels.is_empty()).then_some(Value::Object(labels))),
    ];
    spec.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Value::Object(spec)
}

/// Removes a worker and waits until it is gone.
async fn drain(
    client: &RouterClient,
    worker: &str,
    limit: Option<Duration>,
) -> Result<(Value, Duration), CommandError> {
    let body = delete(client, worker).await?;
    let path = format!("/workers/{}", path_part(&text(&body, "worker_id")));
    let began = Instant::now();
    loop {
        match client.send(Method::GET, &path, None).await {
            Err(error) if error.is_not_found() => return Ok((body, began.elapsed())),
            Err(error) => return Err(error.into()),
            Ok(reply) if limit.is_some_and(|limit| began.elapsed() >= limit) => {
                let (id, load) = (text(&body, "worker_id"), &reply.body["load"]);
                let waited = began.elapsed().as_secs_f64();
                return Err(CommandError::runtime(format_args!(
                    "worker {id} still has {load} requests after {waited:.1} s; it drains on"
                )));
            }
            Ok(_) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn delete(client: &RouterClient, worker: &str) -> Result<Value, CommandError> {
    let path = format!("/workers/{}", path_part(worker));
    Ok(client.send(Method::DELETE, &path, None).await?.body)
}

/// Prints the answer about one worker: as JSON, or its name and what happens to it.
fn print(args: &WorkersArgs, body: &Value, words: &str) {
    if args.json {
        say(pretty(body));
        return;
    }
    let warnings = body["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let warnings: String = warnings.map(|warning| format!("warning: {warning}\n")).collect();
    say(format_args!("worker {} at {}: {words}\n{warnings}", text(body, "worker_id"), text(body, "url")));
}

fn pretty(body: &Value) -> String {
    format!("{body:#}\n")
}

/// A member as text; empty where it is not one.
fn text(body: &Value, member: &str) -> String {
    body[member].as_str().unwrap_or_default().to_owned()
}
