//! Lines of text in columns, and the looks that they may have.
//!
//! A look is never told by colour alone: a terminal may have none.

use crate::terminal::{columns, shortened, wrap};
use ratatui_core::style::{Color, Modifier, Style};
use ratatui_core::text::{Line, Span};
use router_live::Severity;

/// Columns between two columns of a table.
const GAP: usize = 1;

/// How something looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Look {
    #[default]
    Plain,
    Critical,
    Warning,
    Info,
    Good,
    Faint,
    Strong,
    /// The bar above a part of the screen.
    Bar,
    /// The title of the part that the keys are for.
    Chosen,
}

impl Look {
    pub(super) const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::Critical,
            Severity::Warning => Self::Warning,
            Severity::Info => Self::Info,
        }
    }

    pub(super) const fn style(self) -> Style {
        let style = Style::new();
        match self {
            Self::Plain => style,
            Self::Critical => style.fg(Color::LightRed).add_modifier(Modifier::BOLD),
            Self::Warning => style.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            Self::Info => style.fg(Color::Cyan),
            Self::Good => style.fg(Color::Green),
            Self::Faint => style.add_modifier(Modifier::DIM),
            Self::Strong => style.add_modifier(Modifier::BOLD),
            Self::Bar => style.add_modifier(Modifier::REVERSED),
            Self::Chosen => style.add_modifier(Modifier::BOLD.union(Modifier::UNDERLINED)),
        }
    }

    /// A text with this look.
    pub(super) fn text(self, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style())
    }

    /// A line with this look.
    pub(super) fn line(self, text: impl Into<String>) -> Line<'static> {
        Line::from(self.text(text))
    }

    /// A paragraph with this look, in lines of at most `width` columns, each with `indent` in front.
    pub(super) fn paragraph(self, text: &str, width: usize, indent: &str) -> Vec<Line<'static>> {
        wrap(text, width, indent).lines().map(|line| self.line(line)).collect()
    }
}

/// A line without its colours.
pub(super) fn without_colours(mut line: Line<'static>) -> Line<'static> {
    let plain = |style: &mut Style| (style.fg, style.bg) = (None, None);
    plain(&mut line.style);
    line.spans.iter_mut().for_each(|span| plain(&mut span.style));
    line
}

/// A text in so many columns: its end, or with spaces behind it.
pub(super) fn left(text: &str, width: usize) -> String {
    let text = shortened(text, width);
    let room = width.saturating_sub(columns(&text));
    text + &" ".repeat(room)
}

/// A text in so many columns: its end, or with spaces before it.
pub(super) fn right(text: &str, width: usize) -> String {
    let text = shortened(text, width);
    " ".repeat(width.saturating_sub(columns(&text))) + &text
}

/// A line that begins with `before` and ends with `after` at the right side.
pub(super) fn both_sides(before: Line<'static>, after: Line<'static>, width: usize) -> Line<'static> {
    let room = width.saturating_sub(before.width() + after.width());
    let mut line = before;
    if room > 0 {
        line.spans.push(Span::raw(" ".repeat(room)));
        line.spans.extend(after.spans);
    }
    line
}

/// Texts side by side, as many in a line as have room.
pub(super) fn flow(parts: Vec<Vec<Span<'static>>>, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for part in parts {
        let needed: usize = part.iter().map(Span::width).sum();
        match lines.last_mut() {
            Some(line) if line.width() + 3 + needed <= width => {
                line.spans.push(Span::raw("   "));
                line.spans.extend(part);
            }
            _ => lines.push(Line::from(part)),
        }
    }
    lines
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// The least width, so that columns keep their places when figures change.
    pub(super) width: usize,
    pub(super) side: Side,
    /// Where the table is too wide, columns with the highest rank are left out first; those of rank 0 stay.
    pub(super) rank: u8,
}

/// Where the text of a column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Names: they begin at the left, may be shortened to the least width, and lengthened where there is room.
    Left,
    /// Figures: they end at the right and are never shortened.
    Right,
}

impl Column {
    pub(super) const fn name(title: &'static str, width: usize, rank: u8) -> Self {
        Self { title, width, side: Side::Left, rank }
    }

    pub(super) const fn figure(title: &'static str, width: usize, rank: u8) -> Self {
        Self { title, width, side: Side::Right, rank }
    }
}

/// Rows of cells, each row with a look of its own.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<(Look, Vec<String>)>,
}

/// The lines of a table.
#[derive(Debug)]
pub(super) struct TableLines {
    /// The titles.
    pub(super) head: Line<'static>,
    pub(super) rows: Vec<Line<'static>>,
}

impl Table {
    /// The widths of the columns that have room in `width`, each with its place.
    fn layout(&self, width: usize) -> Vec<(usize, usize)> {
        let least = |column: &Column| column.width.max(columns(column.title));
        let natural = |at: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(at));
            cells.map(|cell| columns(cell)).max().unwrap_or(0)
        };
        let mut shown: Vec<(usize, usize, usize)> = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let (least, natural) = (least(column), natural(at).max(least(column)));
            shown.push((at, if column.side == Side::Right { natural } else { least }, natural));
        }
        let total =
            |shown: &[(usize, usize, usize)]| shown.iter().map(|(_, least, _)| least + GAP).sum::<usize>();
        while total(&shown) > width + GAP {
            let rank = |(at, ..): &(usize, usize, usize)| self.columns[*at].rank;
            let Some(most) = shown.iter().map(rank).max().filter(|most| *most > 0) else { break };
            // The last one of that rank goes.
            let Some(last) = shown.iter().rposition(|column| rank(column) == most) else { break };
            shown.remove(last);
        }
        let mut room = (width + GAP).saturating_sub(total(&shown));
        let mut widths = Vec::new();
        for (at, least, natural) in shown {
            let more = (natural - least).min(room);
            room -= more;
            widths.push((at, least + more));
        }
        widths
    }

    /// The line of titles, of which one may be chosen, and the lines of the rows.
    pub(super) fn lines(&self, width: usize, chosen: Option<usize>) -> TableLines {
        let layout = self.layout(width);
        let titles = layout.iter().map(|(at, width)| {
            let column = &self.columns[*at];
            let look = if chosen == Some(*at) { Look::Chosen } else { Look::Faint };
            look.text(placed(column, column.title, *width))
        });
        let mut head = Line::default();
        for title in titles {
            if !head.spans.is_empty() {
                head.spans.push(Span::raw(" ".repeat(GAP)));
            }
            head.spans.push(title);
        }
        let rows = self.rows.iter().map(|(look, cells)| {
            let cells = layout.iter().map(|(at, width)| {
                placed(&self.columns[*at], cells.get(*at).map_or("", String::as_str), *width)
            });
            look.line(cells.collect::<Vec<_>>().join(&" ".repeat(GAP)))
        });
        TableLines { head, rows: rows.collect() }
    }

    /// All lines, the titles first.
    pub(super) fn all_lines(&self, width: usize) -> Vec<Line<'static>> {
        let TableLines { head, rows } = self.lines(width, None);
        std::iter::once(head).chain(rows).collect()
    }
}

fn placed(column: &Column, text: &str, width: usize) -> String {
    match column.side {
        Side::Left => left(text, width),
        Side::Right => right(text, width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            columns: vec![
                Column::name("WORKER", 8, 0),
                Column::figure("A", 3, 0),
                Column::figure("B", 3, 2),
                Column::figure("C", 3, 1),
            ],
            rows: vec![
                (Look::Plain, ["gpu-17.example:30000", "1", "22", "3"].map(str::to_owned).into()),
                (Look::Critical, ["千问", "1234", "-", "-"].map(str::to_owned).into()),
            ],
        }
    }

    fn text(width: usize) -> String {
        let lines = table().all_lines(width);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn columns_of_high_rank_go_first_and_names_give_way() {
        assert_eq!(
            text(60),
            "WORKER                  A   B   C\ngpu-17.example:30000    1  22   3\n千问                 1234   -   -\n"
        );
        assert_eq!(text(20), "WORKER         A   C\n~mple:30000    1   3\n千问        1234   -\n");
        assert_eq!(text(4), "WORKER      A\n~e:30000    1\n千问     1234\n");
    }
}
