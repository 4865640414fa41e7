//! The files that the contexts of all cases have, and those of the base image.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use tar::EntryType::{Directory, Link, Regular, Symlink};

/// Files with a mode of their own; the others have 0644.
const MODES: [(&str, &str, u32); 9] = [
    ("dir/f.sh", "F", 0o755),
    ("dir/sub/g.txt", "G", 0o600),
    ("modes/setuid", "s", 0o4755),
    ("modes/setgid", "s", 0o2755),
    ("modes/group", "s", 0o664),
    ("modes/secret", "s", 0o600),
    ("modes/ro", "s", 0o444),
    ("modes/all", "s", 0o777),
    ("tree/app/sub/x", "x", 0o644),
];

const PLAIN: [(&str, &str); 13] = [
    ("a.txt", "A"),
    ("b.md", "B"),
    ("with blank.txt", "blank"),
    ("Ünï/ß.txt", "u"),
    ("dir/e.txt", "E"),
    ("tree/etc/conf.d/b.conf", "new"),
    ("rootfs/app/y", "y"),
    ("rootfs/top", "top"),
    ("odd/[x].txt", "ox"),
    ("odd/a*b", "ab"),
    ("odd/axb", "axb"),
    ("hard/one", "h"),
    ("passwd", "root:x:0:0::/:\nown:x:123:456::/:\n"),
];

const FOLDERS: [(&str, u32); 6] = [
    ("dir/sub", 0o700),
    ("tree/etc/conf.d", 0o711),
    ("tree/app", 0o775),
    ("modes/sticky", 0o1777),
    ("modes/gdir", 0o2750),
    ("empty", 0o755),
];

const LINKS: [(&str, &str); 5] = [
    ("../a.txt", "links/to-file"),
    ("../dir", "links/to-dir"),
    ("/etc/passwd", "links/absolute"),
    ("../../outside", "links/out"),
    ("nowhere", "links/dangling"),
];

/// Writes the shared context.
pub fn write(root: &Path) {
    for (path, text, mode) in PLAIN.iter().map(|(path, text)| (*path, *text, 0o644)).chain(MODES) {
        let path = root.join(path);
        make_folders(root, path.parent().unwrap());
        file(&path, text.as_bytes(), mode);
    }
    for (path, mode) in FOLDERS {
        make_folders(root, &root.join(path));
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    make_folders(root, &root.join("links"));
    for (target, path) in LINKS {
        symlink(target, root.join(path)).unwrap();
    }
    fs::hard_link(root.join("hard/one"), root.join("hard/two")).unwrap();
    file(&root.join("big"), &[7; 2 << 20], 0o644);
    file(&root.join("holes"), b"", 0o644);
    fs::File::options().write(true).open(root.join("holes")).unwrap().set_len(3 << 20).unwrap();
    archives(root);
}

fn archives(root: &Path) {
    let plain = archive(&[
        ("top.txt", Regular, 0o640, (1, 2), "top"),
        ("d/", Directory, 0o750, (3, 4), ""),
        ("d/in.sh", Regular, 0o4755, (5, 6), "in"),
        ("soft", Symlink, 0o777, (7, 8), "d/in.sh"),
        ("absolute", Symlink, 0o777, (0, 0), "/etc/passwd"),
        ("hard", Link, 0o640, (1, 2), "top.txt"),
    ]);
    let put = |name: &str, bytes: &[u8]| file(&root.join(name), bytes, 0o644);
    put("plain.tar", &plain);
    put("packed.tar.gz", &packed("gzip", &plain));
    put("packed.tar.bz2", &packed("bzip2", &plain));
    put("packed.tar.xz", &packed("xz", &plain));
    put("only.gz", &packed("gzip", b"no archive"));
    put("fake.tar", &b"no archive".repeat(99));
    put("app.zip", b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    put("implied.tar", &archive(&[("p/q/file", Regular, 0o644, (9, 9), "f")]));
}

/// The files of the base image.
pub fn base() -> Vec<u8> {
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\nsvc:x:2000:2000::/:\n";
    let group = "root:x:0:\nappgrp:x:1001:\nstaff:x:50:app\nsvc:x:2000:\n";
    archive(&[
        ("etc/", Directory, 0o755, (0, 0), ""),
        ("etc/passwd", Regular, 0o644, (0, 0), passwd),
        ("etc/group", Regular, 0o644, (0, 0), group),
        ("etc/conf.d/", Directory, 0o755, (0, 0), ""),
        ("etc/conf.d/a.conf", Regular, 0o600, (0, 0), "a"),
        ("app/", Directory, 0o750, (1000, 1001), ""),
        ("app/existing", Regular, 0o640, (1000, 1001), "old"),
        ("app/sub/", Directory, 0o700, (1000, 1001), ""),
        ("srv/", Directory, 0o755, (0, 0), ""),
        ("srv/data/", Directory, 0o700, (2000, 2000), ""),
        ("srv/data/old", Regular, 0o644, (2000, 2000), "old"),
        ("data", Symlink, 0o777, (0, 0), "/srv/data"),
        ("usr/", Directory, 0o755, (0, 0), ""),
        ("usr/lib/", Directory, 0o755, (0, 0), ""),
        ("usr/lib/l.so", Regular, 0o644, (0, 0), "so"),
        ("lib", Symlink, 0o777, (0, 0), "usr/lib"),
        ("tmp/", Directory, 0o1777, (0, 0), ""),
        ("run/", Directory, 0o755, (0, 0), ""),
        ("var/", Directory, 0o755, (0, 0), ""),
        ("var/run", Symlink, 0o777, (0, 0), "../run"),
        ("opt/", Directory, 0o755, (0, 0), ""),
        ("opt/tool", Regular, 0o4755, (0, 0), "tool"),
        ("opt/tool2", Link, 0o4755, (0, 0), "opt/tool"),
        ("opt/link", Symlink, 0o777, (0, 0), "tool"),
        ("home/", Directory, 0o755, (0, 0), ""),
        ("home/app/", Directory, 0o755, (1000, 1001), ""),
    ])
}

/// Path, kind, mode, user and group, content or target.
type Entry<'a> = (&'a str, tar::EntryType, u32, (u64, u64), &'a str);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, mode, (user, group), text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(*user);
        header.set_gid(*group);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        match kind {
            Symlink | Link => tar.append_link(&mut header, path, text).unwrap(),
            _ => {
                header.set_size(text.len() as u64);
                tar.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

/// What the machine's own program makes of the bytes.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// A folder and those above it, as no umask makes them.
fn make_folders(root: &Path, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for above in folder.ancestors().take_while(|above| above.starts_with(root)) {
        fs::set_permissions(above, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

pub fn file(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A copy with all modes, links and holes.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}
