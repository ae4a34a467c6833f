"""shared.onboarding."""
