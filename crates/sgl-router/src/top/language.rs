//! The words of the screen, in English and in Chinese. What is wrong is said by the router, in both.

use crate::terminal::span;
use clap::ValueEnum;
use router_live::{Problem, Severity};

/// A language.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Language {
    /// English
    En,
    /// Chinese
    Zh,
}

impl Language {
    /// The language of the environment: that of the first variable that is set, as POSIX orders them.
    pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable);
        match set.find(|value| !value.is_empty()) {
            Some(locale) if locale.starts_with("zh") => Self::Zh,
            _ => Self::En,
        }
    }

    /// Its words.
    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::En => &ENGLISH,
            Self::Zh => &CHINESE,
        }
    }

    /// The sentence of a problem.
    pub(super) fn sentence(self, problem: &Problem) -> &str {
        match self {
            Self::Zh if !problem.zh.is_empty() => &problem.zh,
            _ => &problem.en,
        }
    }

    /// The name of a worker's state.
    pub(super) fn state(self, state: &str) -> &str {
        match (self, state) {
            (Self::En, "not_ready") => "not ready",
            (Self::En, other) => other,
            (Self::Zh, "healthy") => "正常",
            (Self::Zh, "unhealthy") => "不可用",
            (Self::Zh, "pending") => "等待检查",
            (Self::Zh, "not_ready") => "未就绪",
            (Self::Zh, "draining") => "排空中",
            (Self::Zh, "drained") => "已排空",
            (Self::Zh, other) => other,
        }
    }

    /// How bad something is.
    pub(super) const fn severity(self, severity: Severity) -> &'static str {
        match (self, severity) {
            (Self::En, Severity::Critical) => "CRITICAL",
            (Self::En, Severity::Warning) => "WARNING",
            (Self::En, Severity::Info) => "INFO",
            (Self::Zh, Severity::Critical) => "严重",
            (Self::Zh, Severity::Warning) => "警告",
            (Self::Zh, Severity::Info) => "提示",
        }
    }

    /// A length of time, in seconds; one before its beginning, by another clock, counts as none.
    pub(super) fn span(self, secs: f64) -> String {
        let span = span(secs.max(0.0));
        match (self, span.split_once(' ')) {
            (Self::Zh, Some((count, unit))) => {
                let unit = match unit {
                    "s" => "秒",
                    "min" => "分钟",
                    "h" => "小时",
                    _ => "天",
                };
                format!("{count} {unit}")
            }
            _ => span,
        }
    }

    /// For how many seconds something has been so.
    pub(super) fn lasting(self, secs: f64) -> String {
        let span = self.span(secs);
        match self {
            Self::En => format!("for {span}"),
            Self::Zh => format!("已持续 {span}"),
        }
    }

    /// How many seconds ago something was.
    pub(super) fn ago(self, secs: f64) -> String {
        let span = self.span(secs);
        match self {
            Self::En => format!("{span} ago"),
            Self::Zh => format!("{span}前"),
        }
    }

    /// A sentence with an aside.
    pub(super) fn with_aside(self, sentence: &str, aside: &str) -> String {
        match self {
            Self::En => format!("{sentence} ({aside})"),
            Self::Zh => format!("{sentence}（{aside}）"),
        }
    }

    /// So many of so many.
    pub(super) fn part(self, part: impl std::fmt::Display, all: impl std::fmt::Display) -> String {
        match self {
            Self::En => format!("{part} of {all}"),
            Self::Zh => format!("{part} / {all}"),
        }
    }

    /// There are further problems than those that have room.
    pub(super) fn more_problems(self, count: usize) -> String {
        match self {
            Self::En => format!("{count} more: press p"),
            Self::Zh => format!("另有 {count} 个，按 p 查看"),
        }
    }

    /// The router is away.
    pub(super) fn away(self, age_secs: f64, cause: &str) -> String {
        let age = self.span(age_secs);
        match self {
            Self::En => format!("Trying again. What follows is {age} old. {cause}"),
            Self::Zh => format!("正在重试。以下为 {age}前的状态。{cause}"),
        }
    }
}

/// Makes the struct of words and its two values, so that no word is missing in one of them.
macro_rules! words {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        /// Words and titles of columns.
        #[derive(Debug)]
        pub(super) struct Words {
            $(pub(super) $name: &'static str,)*
        }

        const ENGLISH: Words = Words { $($name: $english,)* };
        const CHINESE: Words = Words { $($name: $chinese,)* };
    };
}

words! {
    policy: "policy", "策略";
    up: "up", "已运行";
    rates_of: "rates of the last", "统计窗口";
    no_connection: "NO CONNECTION", "连接断开";
    not_ready: "NOT READY", "未就绪";
    workers: "workers", "worker";
    in_flight: "in flight", "处理中";
    waiting: "waiting", "等待中";
    requests_per_sec: "requests/s", "请求/秒";
    tokens_per_sec: "tokens/s", "token/秒";
    ttft_p50: "TTFT p50", "TTFT p50";
    ttft_p99: "TTFT p99", "TTFT p99";
    cached: "cached", "缓存命中";
    failed: "failed", "失败";
    retries_per_sec: "retries/s", "重试/秒";
    nothing_wrong: "Nothing is wrong.", "一切正常。";
    problems: "What is wrong", "当前问题";
    fleet: "Fleet", "集群";
    queue: "Queue", "队列";
    decisions: "Decisions", "决策";
    shadows: "Shadows", "影子策略";
    sorted_by: "sorted by", "排序";
    reversed: "reversed", "逆序";
    filter: "filter", "筛选";
    no_match: "No worker matches the filter.", "没有匹配的 worker。";
    no_worker: "There is no worker.", "没有 worker。";
    worker: "WORKER", "WORKER";
    state: "STATE", "状态";
    flight: "FLIGHT", "处理中";
    share: "SHARE", "占比";
    ttft50: "TTFT50", "TTFT50";
    ttft99: "TTFT99", "TTFT99";
    tokens: "TOK/S", "TOK/秒";
    cache: "CACHE", "缓存";
    speed: "SPEED", "速度";
    error: "ERROR", "误差";
    fault: "LAST FAULT", "最近故障";
    curve: "LOAD 30 S", "近 30 秒负载";
    slow: "slow", "慢";
    failing: "failing", "失败多";
    growing: "queue grows", "队列增长";
    breaker_open: "breaker open", "熔断";
    breaker_half_open: "breaker half open", "半熔断";
    overloaded: "overloaded", "过载";
    outdated: "outdated", "权重过期";
    nobody_waits: "No request waits.", "没有请求在等待。";
    nobody_refused: "No request was refused since somebody watches.", "开始观察以来没有请求被拒绝。";
    oldest_waits: "the oldest for", "最久已等";
    refused: "REFUSED", "被拒绝";
    per_sec: "PER S", "每秒";
    count: "COUNT", "次数";
    waits_for: "WAIT FOR", "等待原因";
    requests: "REQUESTS", "请求数";
    model: "MODEL", "模型";
    pool: "POOL", "池";
    policy_title: "POLICY", "策略";
    healthy_title: "HEALTHY", "正常";
    workers_title: "WORKERS", "WORKER";
    waiting_title: "WAITING", "等待";
    saturation: "SATURATION", "饱和度";
    needed: "NEEDED", "所需";
    arrive: "ARRIVE/S", "到达/秒";
    capacity: "EACH CAN/S", "单机容量/秒";
    backlog: "BACKLOG", "积压";
    no_decision: "No decision yet.", "尚无决策。";
    time: "UTC", "UTC";
    reason: "REASON", "原因";
    cost: "COST", "代价";
    next_best: "NEXT BEST", "次优";
    candidates: "OF", "候选";
    prompt: "PROMPT", "提示";
    route: "ROUTE", "路径";
    request: "REQUEST", "请求";
    its_request: "Request", "请求";
    chosen: "chosen", "已选";
    no_costs: "This rule compares no costs.", "该规则不比较代价。";
    lower_is_better: "lower is better", "越低越好";
    attempt: "attempt", "尝试";
    explain_hint: "More of this request", "该请求的详情";
    would_choose: "would have chosen", "会选择";
    same: "the same", "相同";
    no_shadow: "No decision was compared with a shadow policy's yet (--shadow-policies).", "尚无与影子策略对比的决策（--shadow-policies）。";
    shadows_about: "What one request would have gained, as a policy that predicts latencies predicted it, with 95 % intervals. The load that other choices would have made is not in it.", "按能预测延迟的策略的预测，单个请求的收益，附 95% 区间。不包含其他选择所造成的负载变化。";
    decided: "COMPARED", "已比较";
    agree: "SAME CHOICE", "选择相同";
    mean: "MEAN LATENCY", "平均延迟";
    p99: "P99 LATENCY", "P99 延迟";
    id: "id", "ID";
    kind: "kind", "类型";
    zone: "zone", "区域";
    labels: "labels", "标签";
    cause: "cause", "原因";
    its_model: "model", "模型";
    its_state: "state", "状态";
    its_share: "share", "占比";
    its_fault: "last fault", "最近故障";
    breaker: "breaker", "熔断器";
    waiting_there: "waiting there", "在其队列中等待";
    more_in_10_s: "more in 10 s", "10 秒内增加";
    weight: "weight", "权重";
    priority: "priority", "优先级";
    relative_speed: "speed of one stream", "单流速度";
    of_the_fleet: "of the fleet's median", "（相对集群中位数）";
    forecast_error: "forecast error", "预测误差";
    keys: "q quit  ? help  Tab panel  j/k select  Enter details  / filter  s sort  r reverse", "q 退出  ? 帮助  Tab 面板  j/k 选择  Enter 详情  / 筛选  s 排序  r 逆序";
    keys_of_details: "q quit  Esc back  j/k scroll", "q 退出  Esc 返回  j/k 滚动";
    keys_of_filter: "Enter keep  Esc clear; name, model, zone or label", "Enter 确定  Esc 清除；名称、模型、区域或标签";
    help: "Help", "帮助";
    help_text: "q, Ctrl-C\tquit\nTab, Shift-Tab, 1-4\tnext, previous, a certain panel\nj, k, arrows, PgUp, PgDn, g, G\tselect or scroll\nEnter\tdetails of the selected worker or decision\np\tall that is wrong\n/\tonly workers whose name, model, zone or label has this text\ns, S\tsort the fleet by the next or previous column\nr\treverse the order\nEsc\tback; forget the filter\nCtrl-L\tdraw again\n\nSHARE\tof all decisions of the last minute\nTTFT50, TTFT99\ttime to the first byte of a stream: median, 99th percentile\nTOK/S\ttokens that the worker generates per second\nCACHE\tshare of prompt tokens that were in its cache\nSPEED\tof one stream, over the median of the fleet: 0.5 is half as fast\nERROR\tmean relative error of the policy's forecast for it\n\nNothing can be changed here: see sgl-router workers.", "q, Ctrl-C\t退出\nTab, Shift-Tab, 1-4\t下一个、上一个或指定面板\nj, k, 方向键, PgUp, PgDn, g, G\t选择或滚动\nEnter\t所选 worker 或决策的详情\np\t所有问题\n/\t只显示名称、模型、区域或标签含该文字的 worker\ns, S\t按下一列或上一列排序\nr\t逆序\nEsc\t返回；清除筛选\nCtrl-L\t重绘\n\n占比\t最近一分钟内占全部决策的比例\nTTFT50, TTFT99\t流式响应首字节时间：中位数、第 99 百分位\nTOK/秒\t该 worker 每秒生成的 token\n缓存\t提示 token 命中缓存的比例\n速度\t单流速度与集群中位数之比：0.5 表示一半\n误差\t策略对其预测的平均相对误差\n\n此处只读：更改请用 sgl-router workers。";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_set_variable_says_the_language() {
        let of = |set: &[(&str, &str)]| {
            Language::of_environment(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]), Language::En);
        assert_eq!(of(&[("LANG", "zh_CN.UTF-8")]), Language::Zh);
        assert_eq!(of(&[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")]), Language::En);
        assert_eq!(of(&[("LC_ALL", ""), ("LC_MESSAGES", "zh_TW"), ("LANG", "en_US")]), Language::Zh);
    }
}
