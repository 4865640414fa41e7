//! Aligned columns.

use unicode_width::UnicodeWidthStr;

/// Columns are as wide as their widest cell, but no wider than this: one long value does not push the others off the screen.
const WIDEST: usize = 60;
const GAP: usize = 2;

/// Rows as lines, each column aligned by what it takes on a screen; nothing is left at the ends of lines.
pub fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0).min(WIDEST);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP));
    }
    line.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        let rows = [["größe", "1", "x"], ["日本", "22", ""]].map(|row| row.map(String::from).to_vec());
        assert_eq!(lines(&rows), ["größe  1   x", "日本   22"]);
        // 🚀 takes two columns, and so does a heart that is an emoji
        let rows = ["订单-🚀", "order-1", "注文❤\u{fe0f}x"].map(|name| vec![name.to_string(), "ready".to_string()]);
        assert_eq!(lines(&rows), ["订单-🚀  ready", "order-1  ready", "注文❤\u{fe0f}x  ready"]);
    }

    #[test]
    fn one_long_cell_moves_only_its_own_line() {
        let rows = vec![vec!["k".to_string(), "v".repeat(90), "end".into()], vec!["k".into(), "v".into(), "end".into()]];
        assert_eq!(lines(&rows)[1].len(), 1 + GAP + WIDEST + GAP + 3);
    }
}
