//! The house: one `assemble` builds the control plane for the binary and for rehearsals alike,
//! and nodes are added to it whatever their containers are made of.
//!
//! Knows every room below and no operating system. If a simulation needed a branch in here, a
//! seam would be missing. Upstream counterpart: `cmd/kube-apiserver`, `cmd/kube-controller-manager`,
//! `cmd/kube-scheduler`, `cmd/kubelet`, each one's `app` package.

mod assemble;
mod bootstrap;
mod client;
mod custom;
mod node;
mod pods;
mod policies;
mod services;
mod trust;

pub use assemble::*;
pub use node::*;
pub use services::ServiceNet;
pub use trust::{CertificateSigner, Roots};
