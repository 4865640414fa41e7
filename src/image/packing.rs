//! How archives are packed: what ADD and layers of bases come in, unpacked as a stream.

use std::{
    fs::File,
    io::{BufRead, BufReader, Error, Read, Result as IoResult},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::config::Packing;
use crate::domain::problem::{Problem, Result};

/// The most memory that unpacking may take, KiB: that of the highest level of xz and a little more.
const XZ_MEMORY: u32 = 128 << 10;

/// The ways of packing that ADD unpacks, by the first bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Compression {
    pub fn of(path: &Path) -> Result<Compression> {
        let failed = |error: std::io::Error| Problem::io("read", path, &error);
        let mut magic = Vec::new();
        File::open(path).map_err(failed)?.take(6).read_to_end(&mut magic).map_err(failed)?;
        Ok(match magic[..] {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            _ => Compression::None,
        })
    }
}

/// The unpacked content of a layer.
pub(super) fn open(path: &Path, packing: Packing) -> Result<Box<dyn Read>> {
    let compression = match packing {
        Packing::Plain => Compression::None,
        Packing::Gzip => Compression::Gzip,
        Packing::Zstd => Compression::Zstd,
    };
    unpacked(path, compression)
}

/// The unpacked content of a file. What is broken shows when it is read.
pub(super) fn unpacked(path: &Path, compression: Compression) -> Result<Box<dyn Read>> {
    let file = File::open(path).map(BufReader::new).map_err(|error| Problem::io("read", path, &error))?;
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, XZ_MEMORY)),
        Compression::Zstd => Box::new(ZstdFrames { frame: None, rest: Some(file) }),
    })
}

/// The frames of a zstd stream, one after the other; those to be skipped are (RFC 8878, section 3).
struct ZstdFrames<R: BufRead> {
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
    /// What follows the last frame.
    rest: Option<R>,
}

/// The first bytes of a frame to be skipped, without their lowest half byte, and those of its header.
const SKIPPED: u32 = 0x184D_2A50;

impl<R: BufRead> ZstdFrames<R> {
    /// Begins the next frame; false at the end.
    fn begin(&mut self) -> IoResult<bool> {
        while let Some(mut rest) = self.rest.take() {
            let ahead = rest.fill_buf()?;
            if ahead.is_empty() {
                break;
            }
            let magic = ahead.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            if magic.is_some_and(|magic| magic & !0xf == SKIPPED) {
                let mut header = [0; 8];
                rest.read_exact(&mut header)?;
                let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
                std::io::copy(&mut rest.by_ref().take(u64::from(size)), &mut std::io::sink())?;
                self.rest = Some(rest);
                continue;
            }
            self.frame = Some(StreamingDecoder::new(rest).map_err(Error::other)?);
            return Ok(true);
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let got = frame.read(buffer)?;
                if got > 0 || buffer.is_empty() {
                    return Ok(got);
                }
                self.rest = self.frame.take().map(StreamingDecoder::into_inner);
            }
            if !self.begin()? {
                return Ok(0);
            }
        }
    }
}
