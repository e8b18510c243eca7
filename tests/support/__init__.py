"""What tests share: real services that are started for them. Knows nothing of the product."""
