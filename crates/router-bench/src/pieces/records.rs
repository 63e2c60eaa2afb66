//! What it costs to record a request: on the request's way, and on the recorder's thread.

use super::piece::Piece;
use crate::recorded_requests::{RecordedRequests, RequestRecords};

const CALLS: usize = 2000;

pub(super) fn pieces() -> Vec<Piece> {
    vec![
        // The decision's and the completion's record: metrics counted, both queued.
        Piece::new("record/queued", CALLS, || {
            let mut requests = RecordedRequests::start();
            let mut records: Vec<RequestRecords> = (0..CALLS).map(|_| requests.complete_one()).collect();
            Box::new(move || records.drain(..).for_each(|record| requests.record(record)))
        }),
        // Both rows taken from the queue, formatted and written to the file.
        Piece::new("record/written", CALLS, || {
            let mut requests = RecordedRequests::start();
            Box::new(move || {
                for _ in 0..CALLS {
                    let record = requests.complete_one();
                    requests.record(record);
                }
                requests.close();
            })
        })
        .on_other_threads(),
    ]
}
