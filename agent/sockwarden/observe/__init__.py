"""What operators see: metrics, audit records, processes."""
