//! The latency limits that a good response meets.

/// The latency limits that a good response meets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slo {
    /// Longest time to the first token, in seconds. Default 1.
    pub ttft: f64,
    /// Longest time per further token, in seconds. Default 0.05.
    pub tpot: f64,
}

impl Default for Slo {
    fn default() -> Self {
        Self { ttft: 1.0, tpot: 0.05 }
    }
}

/// How long a response took, as the client saw it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ResponseTimes {
    /// Seconds from arrival to the first token; absent where the response was no stream.
    pub first_token: Option<f64>,
    /// Seconds from arrival to the last token.
    pub total: f64,
    /// Tokens generated.
    pub tokens: u32,
}

impl Slo {
    /// Whether a response met both limits. Of a response that was no stream only the whole time is known: it may take what a
    /// stream at both limits takes.
    pub fn is_met(&self, times: ResponseTimes) -> bool {
        let further = f64::from(times.tokens.saturating_sub(1));
        match times.first_token {
            Some(first) => first <= self.ttft && times.total - first <= self.tpot * further.max(1.0),
            None => times.total <= self.ttft + self.tpot * further,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_responses_have_the_time_of_a_stream_at_both_limits() {
        let slo = Slo { ttft: 1.0, tpot: 0.1 };
        let met = |first_token, total| slo.is_met(ResponseTimes { first_token, total, tokens: 11 });
        assert!(met(Some(0.9), 1.9) && met(None, 2.0));
        assert!(!met(Some(1.1), 1.5), "the first token is late");
        assert!(!met(Some(0.5), 1.6), "the stream is slow");
        assert!(!met(None, 2.1));
    }
}
