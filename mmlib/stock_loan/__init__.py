"""Stock loan at a prime broker: tables, KPIs, allocation. Money in currency, fees in bp a year, act/360."""
