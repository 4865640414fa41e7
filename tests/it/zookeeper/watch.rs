//! `config watch` on ZooKeeper.

use super::Site;
use crate::{pushed::watch::FOLLOWER, support::shipway::Shipway};

impl Site {
    fn push_number(&self, number: u32) {
        self.write("config/a.yml", format!("{number}\n"));
        self.shipway("ada").args(["config", "push", "config"]).run().expect_code(0);
    }

    fn watch(&self, more: &[&str]) -> Shipway {
        self.shipway("ada").args(["config", "watch", "--to", "out"]).args(more).args(["--", "sh", "-c", FOLLOWER])
    }
}

#[test]
fn a_push_tells_the_command_whatever_the_server_went_through() {
    let mut site = Site::new();
    site.push_number(1);
    let mut watch = site.watch(&["--signal", "HUP"]).spawn();
    watch.wait_for("begun with 1\n");
    site.push_number(2);
    watch.wait_for("told of 2\n");
    // the session survives a server that comes back in time
    site.server.restart();
    site.push_number(3);
    watch.wait_for("told of 3\n");
    // and another one follows it when it does not
    site.server.freeze();
    watch.wait_for("the command goes on with the files that it has");
    site.server.thaw();
    site.push_number(4);
    watch.wait_for("told of 4\n");
    watch.terminate();
    let ended = watch.wait().expect_code(3);
    let count = |words: &str| ended.text().matches(words).count();
    assert_eq!((count("begun with"), count("goes on with the files")), (1, 1), "{}", ended.text());
}

#[test]
fn a_push_starts_the_command_anew() {
    let site = Site::new();
    site.push_number(1);
    let mut watch = site.watch(&[]).spawn();
    watch.wait_for("begun with 1\n");
    for number in 2..5 {
        site.push_number(number);
        watch.wait_for(&format!("begun with {number}\n"));
    }
    watch.terminate();
    watch.wait().expect_code(3).expect_text(&["version 4 is there: the command is started anew"]);
}
