"""Our own REST API, under /manage/v1; errors are RFC 9457. Knows no contract."""
