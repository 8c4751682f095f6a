"""The search for recipes that meet the budgets: cheap rungs first, and nothing trained that they ruled out."""
