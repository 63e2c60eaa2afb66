//! What a problem is called, in English and in Chinese.

use crate::problem::{Problem, ProblemCode};

impl Problem {
    /// This problem with its sentences. Times are left out: a viewer adds them from [`since`](Problem::since).
    pub(crate) fn in_words(self) -> Self {
        let (en, zh) = (self.english(), self.chinese());
        Self { en, zh, ..self }
    }

    fn english(&self) -> String {
        let who = self.names(", ", |more| format!("and {more} more"));
        let (are, s) = if self.count == 1 { ("is", "s") } else { ("are", "") };
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let of_model = self.model.as_ref().map(|model| format!(" of model {model}")).unwrap_or_default();
        let value = self.value.unwrap_or_default();
        match self.code {
            ProblemCode::NoWorker => "There is no worker: every request is refused.".to_owned(),
            ProblemCode::NoneInService => {
                format!(
                    "None of the {} workers{of_model} is in service: requests are refused or wait.",
                    self.count
                )
            }
            ProblemCode::Refusing => format!("Requests are refused{reason}, {value:.1} a second."),
            ProblemCode::Waiting => format!("{value:.0} requests wait in the router."),
            ProblemCode::WorkerDown => format!("{who} {are} down{reason}."),
            ProblemCode::BreakerOpen => format!("{who} get{s} no requests: the circuit breaker is open."),
            ProblemCode::Saturated => {
                format!(
                    "The demand is {value:.2} times what the workers{of_model} can take: {} are needed.",
                    self.count
                )
            }
            ProblemCode::WorkerFailing => {
                format!("{who} fail{s} {:.0} % of the attempts{reason}.", 100.0 * value)
            }
            ProblemCode::WorkerSlow => {
                format!("{who} {are} {value:.1} times slower than the others{}.", self.evidence().0)
            }
            ProblemCode::WorkerQueueGrowing => {
                format!("The queue of {who} grows: {value:.0} requests more in 10 seconds.")
            }
            ProblemCode::WeightsMissed => format!("{who} missed a weight update."),
            ProblemCode::WorkerNotReady => format!("{who} {are} not ready{reason}."),
            ProblemCode::WorkerPending => format!(
                "{who} {} not passed a health check yet{reason}.",
                if self.count == 1 { "has" } else { "have" }
            ),
            ProblemCode::Retrying => format!("{value:.1} requests a second take another attempt."),
            ProblemCode::WorkerOverloaded => format!(
                "{who} {are} overloaded, by what {} report{s}.",
                if self.count == 1 { "it" } else { "they" }
            ),
            ProblemCode::DiscoveryStale => {
                "The source of the workers cannot be reached; the fleet stays as it is.".to_owned()
            }
            ProblemCode::RecordsDropped => {
                format!("{value:.0} records a second are dropped: the recorder falls behind.")
            }
            ProblemCode::RouterLate => {
                format!("The router is short of CPU: its clock came {value:.1} s late.")
            }
            ProblemCode::WorkerDraining => match self.value {
                Some(left) if left >= 1.0 => format!("{who} {are} draining: {left:.0} requests left."),
                _ => format!("{who} {are} drained."),
            },
            ProblemCode::Unknown => String::new(),
        }
    }

    /// By what workers were found to be slow, in both languages.
    fn evidence(&self) -> (&'static str, &'static str) {
        match (self.reason.as_deref(), self.count) {
            (Some("stream_speed"), 1) => (", by its tokens per second", "（按每秒 token 数）"),
            (Some("stream_speed"), _) => (", by their tokens per second", "（按每秒 token 数）"),
            (Some("ttft"), 1) => (", by its first tokens", "（按首 token 时间）"),
            (Some("ttft"), _) => (", by their first tokens", "（按首 token 时间）"),
            (Some("prediction"), _) => (", as the policy predicts", "（按策略的预测）"),
            _ => ("", ""),
        }
    }

    fn chinese(&self) -> String {
        let who = self.names("、", |more| format!("等另外 {more} 个"));
        let reason = self.reason.as_ref().map(|reason| format!("：{reason}")).unwrap_or_default();
        let of_model = self.model.as_ref().map(|model| format!("模型 {model} 的 ")).unwrap_or_default();
        let value = self.value.unwrap_or_default();
        match self.code {
            ProblemCode::NoWorker => "没有任何 worker：所有请求都会被拒绝。".to_owned(),
            ProblemCode::NoneInService => {
                format!("{of_model}{} 个 worker 均不可用：请求被拒绝或等待。", self.count)
            }
            ProblemCode::Refusing => format!("正在拒绝请求{reason}，每秒 {value:.1} 个。"),
            ProblemCode::Waiting => format!("{value:.0} 个请求在路由器中等待。"),
            ProblemCode::WorkerDown => format!("{who} 不可用{reason}。"),
            ProblemCode::BreakerOpen => format!("{who} 的熔断器已打开，不再接收请求。"),
            ProblemCode::Saturated => {
                let of_model = if of_model.is_empty() { " " } else { of_model.as_str() };
                format!("需求是{of_model}worker 总容量的 {value:.2} 倍：需要 {} 个 worker。", self.count)
            }
            ProblemCode::WorkerFailing => format!("{who} 有 {:.0}% 的请求失败{reason}。", 100.0 * value),
            ProblemCode::WorkerSlow => {
                format!("{who} 比其他 worker 慢 {value:.1} 倍{}。", self.evidence().1)
            }
            ProblemCode::WorkerQueueGrowing => {
                format!("{who} 的队列在增长：10 秒内增加了 {value:.0} 个请求。")
            }
            ProblemCode::WeightsMissed => format!("{who} 错过了一次权重更新。"),
            ProblemCode::WorkerNotReady => format!("{who} 未就绪{reason}。"),
            ProblemCode::WorkerPending => format!("{who} 尚未通过健康检查{reason}。"),
            ProblemCode::Retrying => format!("每秒有 {value:.1} 个请求需要重试。"),
            ProblemCode::WorkerOverloaded => format!("{who} 报告其已过载。"),
            ProblemCode::DiscoveryStale => {
                "无法连接 worker 的发现来源；当前 worker 列表保持不变。".to_owned()
            }
            ProblemCode::RecordsDropped => format!("每秒丢弃 {value:.0} 条记录：记录线程跟不上。"),
            ProblemCode::RouterLate => format!("路由器 CPU 不足：时钟晚了 {value:.1} 秒。"),
            ProblemCode::WorkerDraining => match self.value {
                Some(left) if left >= 1.0 => format!("{who} 正在排空：还剩 {left:.0} 个请求。"),
                _ => format!("{who} 已排空。"),
            },
            ProblemCode::Unknown => String::new(),
        }
    }

    /// The workers' names, without what all URLs begin with.
    fn names(&self, between: &str, more: impl Fn(u64) -> String) -> String {
        let short =
            self.workers.iter().map(|name| name.split_once("://").map_or(name.as_str(), |(_, rest)| rest));
        let names = short.collect::<Vec<_>>().join(between);
        match self.count.saturating_sub(self.workers.len() as u64) {
            0 => names,
            rest => format!("{names} {}", more(rest)),
        }
    }
}
