//! Output in lines: lossy UTF-8, with an end even when the child writes none.

/// Bytes of a line that are passed on; the rest of a longer one is left out.
pub const MAX_LINE: usize = 16 * 1024;

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub(super) struct Lines {
    current: Vec<u8>,
    /// The current line was passed on already; its rest is skipped.
    cut: bool,
}

impl Lines {
    /// Takes bytes as they come and passes on each line that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8], line: &mut (dyn FnMut(&str) + Send)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (content, complete) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            if !self.cut {
                let room = MAX_LINE - self.current.len();
                self.current.extend_from_slice(&content[..content.len().min(room)]);
                if content.len() > room {
                    self.emit(" […]", line);
                    self.cut = true;
                }
            }
            if complete {
                if !self.cut {
                    self.emit("", line);
                }
                self.cut = false;
            }
        }
    }

    /// Passes on a last line that has no line end.
    pub(super) fn finish(&mut self, line: &mut (dyn FnMut(&str) + Send)) {
        if !self.current.is_empty() {
            self.emit("", line);
        }
    }

    fn emit(&mut self, suffix: &str, line: &mut (dyn FnMut(&str) + Send)) {
        let bytes = self.current.strip_suffix(b"\r").unwrap_or(&self.current);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        text.push_str(suffix);
        line(&text);
        self.current.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.feed(piece, &mut |line| seen.push(line.to_string()));
        }
        lines.finish(&mut |line| seen.push(line.to_string()));
        seen
    }

    #[test]
    fn lines_end_where_the_stream_ends_them_however_it_comes() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\n", b"\nlast"]), ["one", "two", "", "last"]);
        assert_eq!(lines(&[]), Vec::<String>::new());
    }

    #[test]
    fn bytes_that_are_no_utf8_become_replacement_characters() {
        assert_eq!(lines(&[b"caf\xe9 ol\xe9\n"]), ["caf\u{fffd} ol\u{fffd}"]);
        assert_eq!(lines(&[b"\xe4\xbd", b"\xa0\n"]), ["\u{4f60}"]);
    }

    #[test]
    fn an_endless_line_is_passed_on_once_and_cut() {
        let long = vec![b'x'; MAX_LINE];
        let seen = lines(&[&long, &long, &long, b"y\nnext\n"]);
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].len(), MAX_LINE + " […]".len());
        assert_eq!(seen[1], "next");
        assert_eq!(lines(&[&long, b"\n"])[0].len(), MAX_LINE);
    }
}
