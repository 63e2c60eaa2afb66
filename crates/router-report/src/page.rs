//! The page: one HTML file that contains its data, style sheet, scripts and chart library.
//!
//! It loads nothing from elsewhere: a content security policy in its head forbids that.

use crate::figures::fractions;
use crate::report::RunReport;

const FRAME: &str = include_str!("../assets/page.html");
const STYLE: &str = include_str!("../assets/page.css");
/// The program of the page: the functions, and what runs at last.
const PROGRAM: [&str; 8] = [
    include_str!("../assets/elements.js"),
    include_str!("../assets/saving.js"),
    include_str!("../assets/plots.js"),
    include_str!("../assets/differences.js"),
    include_str!("../assets/simulated.js"),
    include_str!("../assets/forecasts.js"),
    include_str!("../assets/one_run.js"),
    include_str!("../assets/page.js"),
];
const CHARTS: &str = include_str!("../assets/uPlot.iife.min.js");
const CHARTS_STYLE: &str = include_str!("../assets/uPlot.min.css");
const CHARTS_LICENCE: &str = include_str!("../assets/uPlot.LICENSE");

impl RunReport {
    /// The report as one self-contained HTML page.
    pub fn page(&self) -> String {
        let parts = [
            ("<!--charts-licence-->", CHARTS_LICENCE.trim_end().to_owned()),
            ("/*charts-style*/", CHARTS_STYLE.to_owned()),
            ("/*style*/", STYLE.to_owned()),
            ("/*charts*/", CHARTS.to_owned()),
            ("/*fractions*/", json(&fractions())),
            ("/*report*/", json(self)),
            ("/*program*/", PROGRAM.concat()),
        ];
        let mut page = String::new();
        let mut rest = FRAME;
        // One pass from front to back, so that text inside a part is never taken for a mark.
        for (mark, part) in parts {
            let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
            page.push_str(before);
            page.push_str(&part);
            rest = after;
        }
        page + rest
    }
}

/// JSON for a script element: no text in it can end the element.
fn json(value: &impl serde::Serialize) -> String {
    // Serializing numbers, strings and lists of them cannot fail.
    serde_json::to_string(value).unwrap_or_default().replace('<', "\\u003c")
}
