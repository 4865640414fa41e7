//! `init`: the files that a project gets.

use super::{
    super::{
        foreign,
        log::Style,
        paint::{Mark, Paint},
    },
    diff::changed_lines,
};

/// Lines of a new file that are shown; what is longer is named by its size.
const MOST_LINES: usize = 80;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    pub name: String,
    /// None: it was not there.
    pub before: Option<String>,
    /// The error says why it stays as it is.
    pub after: Result<String, String>,
    pub written: bool,
}

/// Each file with its difference and what became of it, then what comes next; `no_ci`: nobody knows for which CI a job would be.
pub fn init(rows: &[FileRow], no_ci: bool, style: &Style) -> String {
    let paint = Paint::new(style);
    let mut text: String = rows.iter().map(|row| file(row, paint)).collect();
    if rows.iter().any(|row| !row.written && row.after.as_ref().is_ok_and(|after| row.before.as_ref() != Some(after))) {
        text += &format!("{} nothing that was there is changed; `shipway init --force` does it as shown\n", paint.mark(Mark::Warning));
    }
    if no_ci {
        text +=
            &format!("{} no CI is known here; `shipway init --ci gitlab` (or drone, woodpecker) adds its job\n", paint.mark(Mark::Skipped));
    }
    text.push_str(
        "\nnext: `shipway check` (mistakes, offline), `shipway doctor` (what can be reached, and with which rights), `shipway plan` (what \
         would happen)\n",
    );
    paint.plain(text)
}

fn file(row: &FileRow, paint: Paint) -> String {
    let name = paint.strong(&foreign::line(&row.name, 160));
    let after = match &row.after {
        Err(why) => {
            let mut lines = why.lines();
            let first = format!("{} {name} stays: {}\n", paint.mark(Mark::Skipped), lines.next().unwrap_or_default());
            return lines.fold(first, |text, line| text + "    " + line + "\n");
        }
        Ok(after) => after,
    };
    match (&row.before, row.written) {
        (Some(before), _) if before == after => format!("{} {name} is as it should be\n", paint.mark(Mark::Good)),
        (None, _) if after.lines().count() > MOST_LINES || after.lines().any(|line| line.len() > 1000) => {
            format!("{} {name}: {}\n", paint.mark(Mark::Good), crate::report::bytes(after.len() as u64))
        }
        (before, written) => {
            let (mark, verb) = match (before, written) {
                (None, _) => (Mark::Good, "is new"),
                (Some(_), true) => (Mark::Good, "is changed"),
                (Some(_), false) => (Mark::Warning, "would be changed"),
            };
            format!("{} {name} {verb}\n{}", paint.mark(mark), changed_lines(before.as_deref().unwrap_or_default(), after, paint))
        }
    }
}
