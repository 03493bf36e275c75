"""TC-E2E: user journeys."""
