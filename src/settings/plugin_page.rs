//! The pages for the plugin indexes of Drone and Woodpecker: how a step looks, and every setting as a step spells it, as markdown.

use super::{
    reference::{default, value},
    shape::{self, Leaf, Secrecy, Shape},
};

/// Whose page it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Drone,
    Woodpecker,
}

impl Server {
    fn head(self) -> &'static str {
        match self {
            Server::Drone => DRONE,
            Server::Woodpecker => WOODPECKER,
        }
    }
}

const DRONE: &str = "\
---
title: Shipway
author: shipway
tags: [ deploy, kubernetes, maven, java, docker ]
image: shipway-maven
---

<!-- Generated from src/settings/keys; do not edit. A test says how to renew it. -->

From a commit to running pods in one step: compiles and packages a Maven application, generates its Dockerfile, builds the image without
a daemon and without privileges, pushes it, publishes it to Kubernetes by digest as a rolling update, watches until it is really up, and
rolls back with the evidence when it is not.

```yaml
# .drone.yml
kind: pipeline
type: docker
name: default

# what is started by hand, such as a rollback, is another pipeline's
trigger:
  event: [push, tag, pull_request]

steps:
  - name: publish
    image: shipway-maven
    settings:
      registry: registry.example.test
      username: ci
      password: {from_secret: registry_password}
      cluster_server: https://kubernetes.example.test:6443
      cluster_token: {from_secret: cluster_token}
```

- `image: shipway` is the small image, without Maven: for steps that build nothing, such as `command: publish` or `command: rollback`. It
  runs without root; where a step has to write into the workspace, Drone wants `user: root` beside `image:`.
- Drone takes `from_secret` at the top of a setting only: write `cluster_token: {from_secret: …}`, never `cluster: {token: {from_secret: …}}`.
- The step's card shows what was published; `plugin/drone/card.json` is its template, for servers that want it by an address
  (`report_card`).
";

const WOODPECKER: &str = "\
---
name: Shipway
author: shipway
description: From a commit to running pods in one step
tags: [deploy, kubernetes, maven, java, docker]
containerImage: shipway-maven
---

<!-- Generated from src/settings/keys; do not edit. A test says how to renew it. -->

Compiles and packages a Maven application, generates its Dockerfile, builds the image without a daemon and without privileges, pushes it,
publishes it to Kubernetes by digest as a rolling update, watches until it is really up, and rolls back with the evidence when it is not.

```yaml
# .woodpecker.yml
# what is started by hand, such as a rollback, is another pipeline's
when:
  event: [push, tag, pull_request]

steps:
  - name: publish
    image: shipway-maven
    settings:
      registry: registry.example.test
      username: ci
      password: {from_secret: registry_password}
      cluster_server: https://kubernetes.example.test:6443
      cluster_token: {from_secret: cluster_token}
```

- `image: shipway` is the small image, without Maven: for steps that build nothing, such as `command: publish` or `command: rollback`. It
  runs without root and cannot write into the workspace: `report_dir: /tmp/report` gives its report a place.
- A secret that a pull request may not have fails its pipeline: allow the event `pull_request` for it, or give the step `when` without it.
- A step with `environment:` or `commands:` is no plugin for Woodpecker any more, and gets none of the server's plugin secrets: everything
  here is a setting.
";

const TAIL: &str = "
## Settings

Everything has a default. A setting is a path of `shipway.yaml` with `_` between its parts, or nested as there: `kubernetes_replicas: 2` and
`kubernetes: {replicas: 2}` are the same, and beat the file. A list may be a YAML list; lists of arguments are written one a line
(`build_args: |`) or as JSON. Secrets come by `from_secret`, or by a mounted file whose name stands in the setting that ends in `_file`.

Of drone-docker's settings these are understood, too: `registry` (the host), `repo` (the whole name of the image), `tags` (the first is
the tag, the others are extra ones), `username`, `password`.
";

/// The page, with a table of all settings.
pub fn plugin_page(server: Server) -> String {
    let mut text = format!("{}{TAIL}", server.head());
    for section in shape::root().sections() {
        let leaves: Vec<&Leaf> =
            section.fields.iter().filter_map(|(_, shape)| if let Shape::Leaf(leaf) = shape { Some(leaf) } else { None }).collect();
        if leaves.is_empty() {
            continue;
        }
        let title = if section.path.is_empty() { "The step".to_string() } else { format!("`{}`", section.path.join("_")) };
        text.push_str(&format!("\n### {title}\n\n| setting | meaning | value | default |\n|---|---|---|---|\n"));
        text.extend(leaves.into_iter().map(row));
    }
    text
}

fn row(leaf: &Leaf) -> String {
    let name = leaf.path.join("_");
    let name = if leaf.secrecy == Secrecy::Secret { format!("`{name}`, `{name}_file`") } else { format!("`{name}`") };
    let text = |words: String| words.replace('<', "&lt;");
    let cells = [name, text(leaf.description.clone()), value(leaf), text(default(leaf))];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}
