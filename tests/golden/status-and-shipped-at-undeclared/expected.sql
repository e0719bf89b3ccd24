SELECT status='cancelled' AND shipped_at IS NOT NULL FROM o;
