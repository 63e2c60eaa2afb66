// What the page says, in English and in Chinese.
const WORDS = {
  en: {
    skip: "Skip to what is wrong",
    theme: "Theme", auto: "System", light: "Light", dark: "Dark", language: "Language",
    problems: "What is wrong now", none: "Nothing is wrong.", since: "for", show: "Show",
    critical: "Critical", warning: "Warning", info: "Note",
    connecting: "Connecting …", live: "Live", stopped: "The router has ended the stream; trying again.",
    lost: "No connection to the router; trying again.", stale: "What is shown is old by",
    keyNeeded: "This router asks for an admin key.", keyWrong: "The router does not accept this key.",
    key: "Admin key", enterKey: "Enter the key", use: "Use it", forgetKey: "Forget the key",
    keyAbout: "It is kept for this tab only and sent to this router only.",
    totals: "The fleet in figures", workers: "Workers in service", inFlight: "In flight", requests: "Requests/s",
    tokens: "Tokens/s", ttft50: "TTFT p50", ttft99: "TTFT p99", cached: "Cached", retries: "Retries/s",
    window: "Rates and quantiles are those of the last",
    fleet: "Fleet", fleetAbout: "One row per worker. The heads of the columns sort.",
    search: "Name or label", model: "Model", zone: "Zone", all: "All", clear: "Show all",
    nothingFits: "No worker fits the filters.", noWorkers: "There is no worker.",
    worker: "Worker", state: "State", share: "Share", speed: "Tokens/s per stream", error: "Forecast error", fault: "Last fault",
    curve: "In flight, last 30 s", manage: "Manage", ago: "ago", ofFleet: "of the usual", predicted: "predicted",
    slow: "slow", breakerOpen: "circuit breaker open", overloaded: "overloaded", outdated: "outdated weights",
    earlier: "Rows before", later: "Rows after", of: "of", unknown: "–", unknownLong: "unknown",
    queue: "Queue and capacity", waitingTable: "Requests that wait or were refused", scaleTable: "What the fleet can take",
    nobody: "No request waits.", oldest: "The oldest waits", refused: "Refused", inAll: "in all",
    admission: "Waiting to be admitted", worker_capacity: "Waiting for a free worker", worker_in_service: "Waiting for a worker in service",
    saturation: "Saturation", needed: "Workers needed", present: "there are",
    decisions: "Decisions", decisionsAbout: "The last 50, the newest first, with the cost of each candidate: the lower the better. The list stands still while you point at it or work in it.",
    newer: "newer", noDecisions: "No decision since this page was opened.", where: "Where would this prompt go?", ask: "Ask",
    asked: "It would go to", notSent: "Nothing was sent.", terms: "Terms of the costs", cost: "Cost", chosen: "chosen",
    trace: "Trace", tracesOff: "Traces are off: start the router with --enable-tracking.", candidates: "candidates", attempt: "attempt",
    shadows: "Shadow policies", noShadow: "No shadow policy runs.", agree: "Same choice", mean: "Mean", p99: "p99", compared: "Decisions",
    shadowsAbout: "What one request would have gained by the predictions of a policy that predicts latencies: below zero is faster. The load that other choices would have made is not in it. With 95 % intervals.",
    policy: "Policy", policyNow: "It is now", change: "Change …", policyOff: "The policy cannot be changed here:",
    wouldChange: "The router says what would change:", refusedBy: "The router refuses it:", answered: "The router answered:", noAnswer: "No answer came:",
    close: "Close", sure: "Do it", drain: "Drain …", undrain: "Put back …", weight: "Weight", setWeight: "Set weight …",
    drainAsk: "It gets no new requests; those that it has go on. It stays in the fleet and can be put back.",
    undrainAsk: "It gets requests again.", weightAsk: "Its relative capacity becomes", weightWas: "it is",
  },
  zh: {
    skip: "跳到当前问题",
    theme: "主题", auto: "跟随系统", light: "浅色", dark: "深色", language: "语言",
    problems: "当前问题", none: "一切正常。", since: "已持续", show: "查看",
    critical: "严重", warning: "警告", info: "提示",
    connecting: "正在连接……", live: "实时", stopped: "路由器结束了数据流，正在重试。",
    lost: "无法连接路由器，正在重试。", stale: "显示的数据已过时",
    keyNeeded: "此路由器需要管理员密钥。", keyWrong: "路由器不接受此密钥。",
    key: "管理员密钥", enterKey: "输入密钥", use: "使用", forgetKey: "清除密钥",
    keyAbout: "密钥只保留在此标签页中，只发送给此路由器。",
    totals: "集群指标", workers: "可用 worker", inFlight: "处理中", requests: "请求/秒",
    tokens: "Token/秒", ttft50: "TTFT p50", ttft99: "TTFT p99", cached: "缓存命中", retries: "重试/秒",
    window: "速率与分位数的统计时间为最近",
    fleet: "集群", fleetAbout: "每个 worker 一行，点击列标题排序。",
    search: "名称或标签", model: "模型", zone: "区域", all: "全部", clear: "显示全部",
    nothingFits: "没有符合筛选条件的 worker。", noWorkers: "没有任何 worker。",
    worker: "Worker", state: "状态", share: "占比", speed: "单流 Token/秒", error: "预测误差", fault: "最近故障",
    curve: "近 30 秒处理中", manage: "管理", ago: "前", ofFleet: "（相对常值）", predicted: "（预测）",
    slow: "慢", breakerOpen: "熔断器已打开", overloaded: "过载", outdated: "权重过期",
    earlier: "前面的行", later: "后面的行", of: "/", unknown: "–", unknownLong: "未知",
    queue: "队列与容量", waitingTable: "等待或被拒绝的请求", scaleTable: "集群容量",
    nobody: "没有请求在等待。", oldest: "最久等待", refused: "被拒绝", inAll: "累计",
    admission: "等待准入", worker_capacity: "等待空闲 worker", worker_in_service: "等待可用 worker",
    saturation: "饱和度", needed: "所需 worker", present: "现有",
    decisions: "决策", decisionsAbout: "最近 50 条，最新在前，附每个候选的成本（越低越好）。鼠标指向或焦点在列表中时，列表保持不动。",
    newer: "条新决策", noDecisions: "打开此页面以来还没有决策。", where: "这个提示会被发往哪里？", ask: "查询",
    asked: "会发往", notSent: "没有发送任何请求。", terms: "成本各项", cost: "成本", chosen: "已选",
    trace: "追踪", tracesOff: "追踪已关闭：请用 --enable-tracking 启动路由器。", candidates: "个候选", attempt: "尝试",
    shadows: "影子策略", noShadow: "没有运行影子策略。", agree: "选择相同", mean: "平均", p99: "p99", compared: "决策数",
    shadowsAbout: "按能预测延迟的策略的预测，单个请求的收益：小于零表示更快。不包含其他选择所造成的负载变化。附 95% 区间。",
    policy: "策略", policyNow: "当前为", change: "更改……", policyOff: "此处不能更改策略：",
    wouldChange: "路由器表示将发生的更改：", refusedBy: "路由器拒绝：", answered: "路由器的回答：", noAnswer: "没有收到回答：",
    close: "关闭", sure: "执行", drain: "排空……", undrain: "恢复……", weight: "权重", setWeight: "设置权重……",
    drainAsk: "它不再接收新请求；已有的请求会继续完成。它仍在集群中，可以恢复。",
    undrainAsk: "它将重新接收请求。", weightAsk: "它的相对容量将变为", weightWas: "当前为",
  },
};
const STATES = {
  en: { not_ready: "not ready" },
  zh: { healthy: "正常", unhealthy: "不可用", pending: "等待检查", not_ready: "未就绪", draining: "排空中", drained: "已排空" },
};

/** A choice that stays with the browser, where it lets us. */
function remembered(name) {
  try { return localStorage.getItem(`sgl-router ${name}`); } catch { return null; }
}
function remember(name, value) {
  try { localStorage.setItem(`sgl-router ${name}`, value); } catch { /* The page works without. */ }
}

let language = remembered("language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
if (!WORDS[language]) language = "en";
const word = (name) => WORDS[language][name] ?? name;
const stateName = (state) => STATES[language][state] ?? state;
