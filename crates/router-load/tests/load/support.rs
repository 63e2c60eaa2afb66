//! An emulated server, and a CSV as a reader sees it.

use router_emulator::{Emulator, EmulatorConfig, RunningEmulator, SglangVersion};
use router_engine::EngineProfile;
use router_load::{
    ArrivalProcess, CancellationToken, LoadPlan, LoadResult, LoadTarget, LoadTest, RandomShape,
    RequestFormat, RequestRate, write_rows,
};
use std::collections::HashMap;

pub type Row = HashMap<String, String>;

/// A server a hundred times as fast as the GPU it stands for.
pub async fn server(version: SglangVersion) -> RunningEmulator {
    let profile = EngineProfile::named("a100").unwrap();
    Emulator::start(EmulatorConfig { version, speed: 100.0, ..EmulatorConfig::new(profile) }).await.unwrap()
}

pub async fn load(url: &str, format: RequestFormat, plan: LoadPlan) -> LoadTest {
    LoadTest::new(LoadTarget::resolve(url).await.unwrap(), format, plan)
}

pub async fn send(url: &str, format: RequestFormat, plan: LoadPlan) -> LoadResult {
    router_load::run(load(url, format, plan).await, &CancellationToken::new(), |_| {}).await
}

/// Short requests in quick succession; `streams` is the share that is streamed.
pub fn plan(requests: usize, streams: f64) -> LoadPlan {
    let shape = RandomShape { requests, input_len: 64, output_len: 8, ..RandomShape::default() };
    LoadPlan::paced(
        shape.samples(1),
        ArrivalProcess::Poisson(RequestRate::per_second(500.0).unwrap()),
        streams,
        1,
    )
}

pub fn csv_of(run: &LoadResult) -> Vec<u8> {
    let mut out = Vec::new();
    write_rows(run, &mut out).unwrap();
    out
}

pub fn rows(csv: &[u8]) -> Vec<Row> {
    csv::Reader::from_reader(csv).deserialize().map(Result::unwrap).collect()
}

/// The number in a field; `None` where it is empty.
pub fn number(row: &Row, column: &str) -> Option<f64> {
    let field = &row[column];
    (!field.is_empty()).then(|| field.parse().unwrap_or_else(|_| panic!("{column}: '{field}'")))
}
