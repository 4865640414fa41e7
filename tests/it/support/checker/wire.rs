//! HTTP/1.1 as far as a proxy has to understand it.

use std::io::{BufRead, Write};

/// Bodies up to this size are kept to be looked into, bytes: manifests and errors.
const LOOKED_INTO: usize = 4 << 20;

/// First line and headers.
pub struct Head {
    pub raw: Vec<u8>,
    pub headers: Vec<(String, String)>,
    first: String,
}

/// How a body ends.
pub enum Body {
    None,
    Length(u64),
    Chunked,
    ToTheEnd,
}

impl Head {
    pub fn read(from: &mut impl BufRead) -> Option<Head> {
        let (mut raw, mut lines) = (Vec::new(), Vec::new());
        loop {
            let begin = raw.len();
            if from.read_until(b'\n', &mut raw).ok()? == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&raw[begin..]).trim_end().to_string();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        let first = lines.next()?;
        let headers = lines.filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_string())));
        let headers = headers.collect();
        Some(Head { raw, headers, first })
    }

    /// A word of the first line.
    pub fn word(&self, nth: usize) -> &str {
        self.first.split(' ').nth(nth).unwrap_or_default()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    pub fn closes(&self) -> bool {
        self.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub fn length(&self) -> Option<u64> {
        self.get("content-length")?.parse().ok()
    }

    pub fn request_body(&self) -> Body {
        match (self.get("transfer-encoding"), self.length()) {
            (Some(_), _) => Body::Chunked,
            (None, Some(length)) if length > 0 => Body::Length(length),
            _ => Body::None,
        }
    }

    pub fn answer_body(&self, method: &str, status: u16) -> Body {
        match (self.get("transfer-encoding"), self.length()) {
            _ if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) => Body::None,
            (Some(_), _) => Body::Chunked,
            (None, Some(0)) => Body::None,
            (None, Some(length)) => Body::Length(length),
            (None, None) => Body::ToTheEnd,
        }
    }
}

impl Body {
    /// Passes the body on as it is; its beginning is kept in `seen`. Gives its length.
    pub fn pass(&self, from: &mut impl BufRead, to: &mut impl Write, seen: &mut Vec<u8>) -> std::io::Result<u64> {
        match self {
            Body::None => Ok(0),
            Body::Length(length) => exactly(from, to, *length, seen),
            Body::ToTheEnd => super::drain(from, to),
            Body::Chunked => chunks(from, to, seen),
        }
    }
}

fn exactly(from: &mut impl BufRead, to: &mut impl Write, length: u64, seen: &mut Vec<u8>) -> std::io::Result<u64> {
    let mut left = length;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = from.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        keep(seen, &buffer[..got]);
        to.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    Ok(length)
}

fn chunks(from: &mut impl BufRead, to: &mut impl Write, seen: &mut Vec<u8>) -> std::io::Result<u64> {
    let mut all = 0;
    loop {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line)?;
        to.write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        let size =
            u64::from_str_radix(text.trim().split(';').next().unwrap_or_default(), 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
        exactly(from, to, size, seen)?;
        all += size;
        // The line end behind a chunk, and behind the last one.
        let mut end = [0; 2];
        from.read_exact(&mut end)?;
        to.write_all(&end)?;
        if size == 0 {
            return Ok(all);
        }
    }
}

fn keep(seen: &mut Vec<u8>, bytes: &[u8]) {
    let room = LOOKED_INTO.saturating_sub(seen.len());
    seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
