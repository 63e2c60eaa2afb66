//! The plots as SVG, with a transparent background and medium tones that are readable on light and dark pages.

use super::contender::{CANDIDATE, OURS};
use super::rows::{COURSE_INTERVAL, LatencyFigure};
use super::summary::{CaseSummary, ContenderRuns, PeerSet};
use super::target::{ROUND_ROBIN, title};
use crate::harness::stats::Spread;
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 960;
const ROW: i32 = 20;
const HEAD: i32 = 30;
const LABELS: i32 = 230;

const TEXT: RGBColor = RGBColor(125, 133, 144);
const OURS_COLOR: RGBColor = RGBColor(47, 129, 247);
const OTHERS_OF_OURS: RGBColor = RGBColor(121, 168, 226);
const PEERS_COLOR: RGBColor = RGBColor(201, 138, 38);
const TUNED_COLOR: RGBColor = RGBColor(222, 184, 122);
const THIRD: RGBColor = RGBColor(63, 160, 95);
const FOURTH: RGBColor = RGBColor(181, 90, 160);
const FIFTH: RGBColor = RGBColor(200, 80, 70);

/// The panels of a case: the figure, its unit, and how many of it a second has.
const PANELS: [(LatencyFigure, &str, f64); 3] =
    [(LatencyFigure::Mean, "s", 1.0), (LatencyFigure::P99, "s", 1.0), (LatencyFigure::FirstP99, "ms", 1e3)];

/// The bars of a case: medians with the range of the rounds; tuned peers in a lighter tone.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn case(summary: &CaseSummary<'_>, file: &Path) -> Result<()> {
    let height = HEAD + ROW * rows(summary.contenders.len()) + 8;
    let area = SVGBackend::new(file, (WIDTH, height.unsigned_abs())).into_drawing_area();
    let width = (WIDTH.cast_signed() - LABELS) / 3;
    for (index, contender) in summary.contenders.iter().enumerate() {
        label(&area, contender.name, LABELS - 10, HEAD + ROW * rows(index) + ROW / 2, HPos::Right)?;
    }
    for (panel, (figure, unit, scale)) in (0..).zip(PANELS) {
        let left = LABELS + panel * width;
        label(&area, &format!("{}, {unit}", title(figure)), left, HEAD / 2, HPos::Left)?;
        let spreads: Vec<_> = summary.contenders.iter().map(|contender| contender.spread(figure)).collect();
        let most = spreads.iter().flatten().map(|spread| spread.max).fold(f64::MIN_POSITIVE, f64::max);
        // Leaves room for the number beside the bar.
        let x = |value: f64| left + pixels(value / most * f64::from(width - 70));
        for (index, (contender, spread)) in summary.contenders.iter().zip(&spreads).enumerate() {
            let Some(spread) = spread else { continue };
            let top = HEAD + ROW * rows(index);
            let bar = [(left, top + 4), (x(spread.median), top + ROW - 4)];
            draw(&area, &Rectangle::new(bar, color(contender).filled()))?;
            range(&area, x(spread.min)..x(spread.max), top + ROW / 2)?;
            let number = format!("{:.*}", if scale > 1.0 { 0 } else { 2 }, spread.median * scale);
            label(&area, &number, x(spread.max) + 6, top + ROW / 2, HPos::Left)?;
        }
    }
    area.present().map_err(failed)
}

/// The candidate against the best peer at its defaults, case by case, with a ring for the best of all peers where that
/// is another one.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn ratios(summaries: &[CaseSummary<'_>], file: &Path) -> Result<()> {
    const COLORS: [RGBColor; 3] = [OURS_COLOR, PEERS_COLOR, THIRD];
    const SPAN: (f64, f64) = (0.25, 2.0);
    let block = ROW * rows(PANELS.len()) + 8;
    let bottom = HEAD + block * rows(summaries.len());
    let area = SVGBackend::new(file, (WIDTH, (bottom + 30).unsigned_abs())).into_drawing_area();
    let right = WIDTH.cast_signed() - 110;
    let x = |ratio: f64| {
        let part = (ratio.clamp(SPAN.0, SPAN.1) / SPAN.0).ln() / (SPAN.1 / SPAN.0).ln();
        LABELS + pixels(part * f64::from(right - LABELS))
    };
    label(
        &area,
        "marginal_cost as a multiple of the best peer at its defaults (ring: of all, tuned too); left of 1 is better",
        LABELS,
        HEAD / 2,
        HPos::Left,
    )?;
    for tick in [0.25, 0.5, 0.7, 1.0, 1.4, 2.0] {
        let strong = if tick == 1.0 { 2 } else { 1 };
        draw(
            &area,
            &PathElement::new([(x(tick), HEAD), (x(tick), bottom)], TEXT.mix(0.5).stroke_width(strong)),
        )?;
        label(&area, &format!("{tick}"), x(tick), bottom + 14, HPos::Center)?;
    }
    for (index, summary) in summaries.iter().enumerate() {
        let top = HEAD + block * rows(index);
        for (line, ((figure, ..), color)) in PANELS.iter().zip(COLORS).enumerate() {
            let y = top + ROW * rows(line) + ROW / 2 + 4;
            let name = format!("{} {}", summary.case.name, title(*figure));
            label(&area, &name, LABELS - 10, y, HPos::Right)?;
            let Some((peer, ratio)) = summary.to_best(PeerSet::AtDefaults, *figure) else { continue };
            let tuned = summary.to_best(PeerSet::All, *figure).filter(|(best, _)| *best != peer);
            range(&area, x(ratio.min)..x(ratio.max), y)?;
            draw(&area, &Circle::new((x(ratio.median), y), 5, color.filled()))?;
            let mut number = (format!("{:.2}", ratio.median), ratio.max.max(ratio.median));
            if let Some((_, Spread { median, .. })) = tuned {
                draw(&area, &Circle::new((x(median), y), 5, color.stroke_width(2)))?;
                number = (format!("{} ({median:.2})", number.0), number.1.max(median));
            }
            label(&area, &number.0, x(number.1) + 10, y, HPos::Left)?;
        }
    }
    area.present().map_err(failed)
}

/// Mean latency by time of arrival: the candidate, the best peers and two simple policies.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn course(summary: &CaseSummary<'_>, file: &Path) -> Result<()> {
    let best = |peers| summary.best(peers, LatencyFigure::P99).map(|peer| peer.name);
    let others =
        [best(PeerSet::AtDefaults), best(PeerSet::All), Some("haproxy/leastconn"), Some(ROUND_ROBIN)];
    let mut names = vec![CANDIDATE];
    for name in others.into_iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let lines: Vec<(&str, Vec<(f64, f64)>)> =
        names.into_iter().filter_map(|name| Some((name, points(summary.contender(name)?)))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let (last, most) = all().fold((1.0_f64, 0.1_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let area = SVGBackend::new(file, (WIDTH, 320)).into_drawing_area();
    let text = ("sans-serif", 13).into_font().color(&TEXT);
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..last, 0.0..most * 1.05)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .axis_style(TEXT)
        .bold_line_style(TEXT.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(text.clone())
        .axis_desc_style(text.clone())
        .x_desc("arrival, s")
        .y_desc("mean E2E, s")
        .draw()
        .map_err(failed)?;
    for ((name, points), color) in lines.into_iter().zip([OURS_COLOR, PEERS_COLOR, THIRD, FOURTH, FIFTH]) {
        let series = LineSeries::new(points, color.stroke_width(2));
        chart
            .draw_series(series)
            .map_err(failed)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text)
        .border_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)
}

/// For each interval of the course the median over the rounds.
fn points(contender: &ContenderRuns<'_>) -> Vec<(f64, f64)> {
    let longest = contender.runs.iter().map(|run| run.figures.course.len()).max().unwrap_or_default();
    let point = |(index, at): (usize, f64)| {
        let means = contender.runs.iter().filter_map(|run| run.figures.course.get(index).copied().flatten());
        Some((at, Spread::of(means)?.median))
    };
    let middles = std::iter::successors(Some(COURSE_INTERVAL / 2.0), |at| Some(at + COURSE_INTERVAL));
    (0..longest).zip(middles).filter_map(point).collect()
}

fn color(contender: &ContenderRuns<'_>) -> RGBColor {
    match contender.name {
        CANDIDATE => OURS_COLOR,
        name if name.starts_with(OURS) => OTHERS_OF_OURS,
        _ if contender.is_among(PeerSet::AtDefaults) => PEERS_COLOR,
        _ => TUNED_COLOR,
    }
}

/// A horizontal line.
fn range(area: &Area<'_>, x: Range<i32>, y: i32) -> Result<()> {
    draw(area, &PathElement::new([(x.start, y), (x.end, y)], TEXT.stroke_width(2)))
}

fn label(area: &Area<'_>, text: &str, x: i32, y: i32, side: HPos) -> Result<()> {
    let style = ("sans-serif", 13).into_font().color(&TEXT).pos(Pos::new(side, VPos::Center));
    draw(area, &Text::new(text.to_owned(), (x, y), style))
}

fn draw<'a, E>(area: &Area<'a>, element: &E) -> Result<()>
where
    for<'b> &'b E: plotters::element::PointCollection<'b, (i32, i32)>,
    E: plotters::element::Drawable<SVGBackend<'a>>,
{
    area.draw(element).map_err(failed)
}

#[allow(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[allow(clippy::cast_possible_truncation, reason = "a plot has a few thousand pixels")]
fn pixels(value: f64) -> i32 {
    value.round() as i32
}

/// A number of rows as a coordinate.
fn rows(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX / ROW)
}
