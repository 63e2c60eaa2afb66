//! The sending side: loads for a router or an engine, and an honest measure of what came back.
//!
//! A [`Plan`] fixes every request and the moment it leaves before the first one is sent; [`run`] sends it in an open
//! loop, in which arrivals never wait for answers; the [`Summary`] and the [rows](write_rows) say what each request
//! became and how late the sender itself was, because a late sender lies.
//!
//! It is not a router and knows no policy. It reads the workers' own time stamps where an answer carries them and
//! leaves unknown what nobody said.
//!
//! ```no_run
//! # async fn measure() -> Result<(), Box<dyn std::error::Error>> {
//! use router_load::{Arrivals, Load, Plan, RandomShape, Rate, Target, Wording};
//!
//! let rate = Rate::per_second(50.0).ok_or("a rate is above 0")?;
//! let samples = RandomShape::default().samples(1);
//! let plan = Plan::paced(samples, Arrivals::Poisson(rate), 1.0, 1);
//! let target = Target::resolve("http://127.0.0.1:30000").await?;
//! let run = router_load::run(Load::new(target, Wording::default(), plan), &Default::default(), |_| {}).await;
//! println!("{}", run.summary);
//! # Ok(())
//! # }
//! ```

mod answer;
mod arrivals;
mod connection;
mod dataset;
mod exchange;
mod gate;
mod model;
mod percentiles;
mod plan;
mod prompt;
mod report;
mod rows;
mod run;
mod running;
mod summary;
mod target;
mod trace;
mod wording;

pub use answer::{Answer, Failure};
pub use arrivals::{Arrivals, Rate};
pub use dataset::{BadEntry, Dataset, DatasetError, RandomShape, Sample, read_custom, read_sharegpt};
pub use model::first_model;
pub use percentiles::Percentiles;
pub use plan::{Delivery, Pace, Plan, Shot};
pub use prompt::{BYTES_PER_TOKEN, Prompt, Segment, tokens_of};
pub use report::{Report, Times};
pub use rows::{COLUMNS, write_rows};
pub use run::{Load, Run, run};
pub use running::{Done, Running, running};
pub use summary::Summary;
pub use target::{Target, TargetError};
pub use tokio_util::sync::CancellationToken;
pub use trace::{BLOCK_TOKENS, Trace, TraceLine, read_trace};
pub use wording::{Ending, Endpoint, UnknownEndpoint, Wording};
