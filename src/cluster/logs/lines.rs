//! A log as lines with their times, each of bounded length.

use std::{io, pin::Pin};

use futures::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::jiff::Timestamp;

use super::{LogLine, LogSource};

/// Bytes of a line that are kept.
const LONGEST: usize = 16 * 1024;

pub(super) type Reader = Pin<Box<dyn AsyncBufRead + Send>>;

/// The lines of one life.
pub(super) struct Lines {
    reader: Reader,
    pod: String,
    container: String,
    /// Time of the last line, for one without.
    last: Timestamp,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn new(reader: Reader, source: &LogSource) -> Self {
        let (pod, container) = (source.pod.clone(), source.container.clone());
        Lines { reader, pod, container, last: Timestamp::UNIX_EPOCH, buffer: Vec::new() }
    }

    /// None: the log ends here.
    pub async fn next(&mut self) -> io::Result<Option<LogLine>> {
        let Some(cut) = read_line(&mut self.reader, &mut self.buffer).await? else { return Ok(None) };
        let line = String::from_utf8_lossy(&self.buffer);
        // the kubelet answers with this sentence, and with success, for a container that it has removed meanwhile
        if line.starts_with("unable to retrieve container logs for ") {
            return Ok(None);
        }
        let (at, text) = match line.split_once(' ').and_then(|(at, text)| Some((at.parse().ok()?, text))) {
            Some((at, text)) => (at, text),
            None => (line.parse().unwrap_or(self.last), if line.parse::<Timestamp>().is_ok() { "" } else { line.as_ref() }),
        };
        self.last = at;
        let more = if cut > 0 { format!("… ({cut} bytes cut)") } else { String::new() };
        let text = format!("{}{more}", text.trim_end_matches('\r'));
        Ok(Some(LogLine { at, pod: self.pod.clone(), container: self.container.clone(), text }))
    }
}

/// Reads up to the end of a line, and says how many bytes of it were dropped; None at the end.
async fn read_line(reader: &mut Reader, line: &mut Vec<u8>) -> io::Result<Option<usize>> {
    line.clear();
    let (mut cut, mut any) = (0, false);
    loop {
        let buffer = reader.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(any.then_some(cut));
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let kept = part.len().min(LONGEST.saturating_sub(line.len()));
        line.extend_from_slice(&part[..kept]);
        cut += part.len() - kept;
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume_unpin(used);
        if end.is_some() {
            return Ok(Some(cut));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &str) -> Vec<LogLine> {
        let source = LogSource { pod: "web-1".into(), container: "app".into(), previous: false };
        let reader = Box::pin(futures::io::Cursor::new(log.as_bytes().to_vec()));
        let mut lines = Lines::new(reader, &source);
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let mut found = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                found.push(line);
            }
            found
        })
    }

    #[test]
    fn times_are_taken_off() {
        let found = lines("2026-01-02T03:04:05.000000100+01:00 up and running\n2026-01-02T03:04:06Z \nno time here\n");
        assert_eq!(found.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["up and running", "", "no time here"]);
        assert_eq!(found[0].at.to_string(), "2026-01-02T02:04:05.0000001Z");
        assert_eq!(found[2].at, found[1].at);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let found = lines(&format!("2026-01-02T03:04:05Z {}\n2026-01-02T03:04:06Z b", "x".repeat(40_000)));
        assert!(found[0].text.len() < LONGEST + 40 && found[0].text.ends_with("bytes cut)"), "{}", found[0].text.len());
        assert_eq!(found[1].text, "b");
    }

    #[test]
    fn a_log_that_was_removed_is_empty() {
        assert!(lines("unable to retrieve container logs for containerd://1\n").is_empty());
    }
}
