"""What a profile looks like: a page, charts, a trace and a table, all of one breakdown."""
