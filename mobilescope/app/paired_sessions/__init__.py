"""The guided paired session: both instruments' fields linked, walked through and summed up."""
