"""Apache Beam jobs that turn raw listening logs into per-user TFRecord session sequences."""
