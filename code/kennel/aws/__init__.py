"""What only AWS has: an account, prices, quotas, schedules; looked at before anything is paid for."""
